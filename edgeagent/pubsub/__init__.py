"""Google Pub/Sub over its REST API: a link for the agent's uplink and the dispatcher's broker (docs/pubsub.md)."""
