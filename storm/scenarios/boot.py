"""A filer boots: it loads all its key pairs from all key servers at once, as kmip_init does."""

from filer.storm.scenario import Failed, Scenario, check


class Boot(Scenario):
    """A filer boots, and is up when it has all its key pairs from every key server."""

    done = "up"

    def run(self) -> None:
        """Load all key pairs from all key servers.  Raises Failed."""
        holdings = self.filer.key_servers().fetch_for_boot(())
        check(holdings.failures)
        wanted = self.filer.plan.pairs
        for address in holdings.by_server:
            found = len(holdings.only(address).key_ids())
            if found != wanted:
                raise Failed(f"key server {address}: it shows {found} key pairs, not {wanted}")
        if holdings.contradictions():
            raise Failed("the key servers contradict one another")
