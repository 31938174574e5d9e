// Dead letters, with their two buttons.

import { get, post } from "./api.js";
import { byId, counted, el, number, say, time } from "./dom.js";

export class Letters {
  constructor(open, failed) {
    this.open = open; // shows where a trigger is
    this.failed = failed; // is told errors
    this.list = byId("dead");
    this.dialog = byId("discard");
    this.error = byId("discard-error");
    this.known = null; // how many there were when they were fetched
    this.next = null;
    byId("discard-yes").addEventListener("click", () => this.discard());
  }

  // There are so many now. They are fetched when that is another number than before.
  async count(count, most) {
    const badge = byId("dead-count");
    say(badge, number(count));
    badge.toggleAttribute("data-bad", count > 0);
    byId("dead-foot").dataset.most = String(most);
    if (count === this.known) return;
    this.known = count;
    await this.load();
  }

  async load() {
    const page = await get("/v1/dead");
    this.list.replaceChildren();
    this.take(page);
  }

  take(page) {
    this.list.append(...page.dead.map((letter) => this.item(letter)));
    this.next = page.next_seq ?? null;
    if (!this.list.children.length) this.list.append(el("li", { className: "quiet", textContent: "None." }));
    say(byId("dead-foot"), "");
    if (this.next !== null) {
      const more = el("button", { type: "button", textContent: "Show more" });
      more.addEventListener("click", () => get(`/v1/dead?from=${this.next}`).then((rest) => this.take(rest)).catch(this.failed));
      byId("dead-foot").append(more);
    }
  }

  item(letter) {
    const button = (text, act, properties = {}) => {
      const node = el("button", { type: "button", textContent: text, ...properties });
      node.addEventListener("click", act);
      return node;
    };
    const about = `${letter.source}, ${letter.rule}`;
    const item = el("li", {},
      el("p", {}, el("strong", { textContent: letter.source }), el("span", { className: "quiet", textContent: ` · ${letter.rule}` })),
      el("p", { className: "error", textContent: letter.code ? `${letter.reason} (${letter.code})` : letter.reason }),
      el("p", { className: "quiet small" }, time(letter.at), ` · ${counted(letter.attempts, "attempt")}`),
      el("details", {}, el("summary", { className: "small", textContent: "Data" }), el("p", { className: "mono small", textContent: letter.data })),
      el("div", { className: "row" },
        button("Replay", (event) => this.replay(letter, event.currentTarget), { "aria-label": `Replay ${about}` }),
        button("Discard…", () => this.ask(letter), { "aria-label": `Discard ${about}…`, "aria-haspopup": "dialog" }),
        button("Where?", () => this.open(letter.correlation_id), { "aria-label": `Where is ${about}?`, "aria-haspopup": "dialog" })));
    item.dataset.id = letter.correlation_id;
    return item;
  }

  async replay(letter, button) {
    button.disabled = true;
    try {
      const { replayed } = await post("/v1/dead/replay", { correlation_ids: [letter.correlation_id] });
      this.done(letter, replayed.length ? `${letter.source} is sent again.` : "It was no dead letter any more.");
    } catch (error) {
      button.disabled = false;
      this.failed(error);
    }
  }

  ask(letter) {
    this.asked = letter;
    say(this.error, "");
    say(byId("discard-what"), `The event of ${letter.source} for the rule ${letter.rule} will never start a workflow. This cannot be undone.`);
    this.dialog.showModal();
  }

  async discard() {
    const letter = this.asked;
    const yes = byId("discard-yes");
    yes.disabled = true;
    try {
      const { discarded } = await post("/v1/dead/discard", { correlation_ids: [letter.correlation_id] });
      this.dialog.close();
      this.done(letter, discarded.length ? `The dead letter of ${letter.source} is discarded.` : "It was no dead letter any more.");
    } catch (error) {
      say(this.error, error.message);
    } finally {
      yes.disabled = false;
    }
  }

  // The focus goes to what has taken its place.
  done(letter, text) {
    say(byId("dead-said"), text);
    const item = [...this.list.children].find((one) => one.dataset.id === letter.correlation_id);
    const after = item?.nextElementSibling ?? item?.previousElementSibling;
    item?.remove();
    (after?.querySelector("button") ?? byId("dead-scroll")).focus();
    if (!this.list.children.length) this.list.append(el("li", { className: "quiet", textContent: "None." }));
    if (this.known !== null) this.known -= 1;
  }
}
