"""A filer makes a new key pair, as ``key_manager rekey`` does."""

from filer.storm.fleet import Fleet
from filer.storm.scenario import Failed, Scenario, check
from filer.throw_away.pairs import PARENT_TAG


class Rekey(Scenario):
    """A filer stores a new key pair on all key servers, reads it back, and takes it back."""

    done = "rekeyed"

    def prepare(self) -> None:
        """Make the key pair."""
        self._pair = self.filer.new_pair()._replace(tag=Fleet.tag(self.filer.number))
        self._servers = self.filer.key_servers()
        self._is_stored = False

    def run(self) -> None:
        """Store the key pair, read it back and take it back.  Raises Failed."""
        self._is_stored = True
        stored = self._servers.store(self._pair, PARENT_TAG)
        check(stored.failures)
        confirmed = self._servers.confirm(self._pair)
        check(confirmed.failures)
        for address, is_there in confirmed.answers.items():
            if not is_there:
                raise Failed(f"key server {address}: read back is not what was stored")
        self._take_back()

    def stop(self) -> None:
        """Take back the key pair wherever it may be."""
        if self._is_stored:
            self._take_back()

    def _take_back(self) -> None:
        taken_back = self._servers.take_back(self._pair)
        self._is_stored = bool(taken_back.failures) or not all(taken_back.answers.values())
        check(taken_back.failures)
        if self._is_stored:
            raise Failed("the new key pair could not be taken back")
