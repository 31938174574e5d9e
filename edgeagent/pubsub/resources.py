"""Names of Pub/Sub's resources, as the REST API writes them. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, urlsplit

SERVICE = "https://pubsub.googleapis.com"


class PubSubTopic(NamedTuple):
    """A topic of a project, as `pubsub://PROJECT/TOPIC` names it."""

    project: str
    topic: str

    @property
    def topic_path(self) -> str:
        """`projects/PROJECT/topics/TOPIC`."""
        return self.beside(self.topic)

    def beside(self, topic: str) -> str:
        """The path of another topic of the project."""
        return f"projects/{self.project}/topics/{topic}"

    def subscription_path(self, name: str) -> str:
        """`projects/PROJECT/subscriptions/NAME`."""
        return f"projects/{self.project}/subscriptions/{name}"


def place_of(url: str) -> PubSubTopic:
    """The topic that `pubsub://PROJECT/TOPIC` names; the configuration's checks have looked at the form."""
    parts = urlsplit(url)
    return PubSubTopic(parts.netloc, parts.path.strip("/"))


def call_path(resource: str, verb: str) -> str:
    """The path of a call, such as `/v1/projects/P/topics/T:publish`; with `verb` "" that of the resource itself."""
    path = f"/v1/{quote(resource, safe='/')}"
    return f"{path}:{verb}" if verb else path
