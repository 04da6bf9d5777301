"""A new key pair that key servers do not keep as they say: what is taken back, and what is told."""

import shutil
from pathlib import Path
from typing import cast

import pytest

from filer.keyserver.server import KeyServer
from filer.kmip.ttlv import Element
from filer.shell.session import FAILED
from tests.kit import choosy
from tests.kit.choosy import ChoosyServer, Habits, Version
from tests.kit.house import House

ADDRESS = "127.0.0.2"


@pytest.fixture
def directory(authority: Path, tmp_path: Path) -> Path:
    return shutil.copytree(authority, tmp_path / "key servers")


def rekeyed(root: Path, server: ChoosyServer) -> House:
    """Return a filer whose disks use the only key on ``server``."""
    house = House.build(root, cast(list[KeyServer], [server]))
    house.add()
    house.rekey()
    house.lock()
    return house


class Confused(ChoosyServer):
    """Answers Register with the identifier of the first object, and shows no object."""

    confused = False
    hides = False

    def _register(self, payload: bytes, version: Version) -> list[Element]:
        answer = super()._register(payload, version)
        return [choosy._identifier("object-1")] if self.confused else answer

    def _activate(self, payload: bytes, version: Version) -> list[Element]:
        if self.confused:
            raise choosy._Refused(choosy.NOT_FOUND)
        return super()._activate(payload, version)

    def _get_attributes(self, payload: bytes, version: Version) -> list[Element]:
        if self.hides and len(self.objects) > 1:
            raise choosy._Refused(choosy.PERMISSION_DENIED)
        return super()._get_attributes(payload, version)


@pytest.mark.parametrize("hides", [True, False])
def test_the_key_in_use_is_not_taken_back_as_the_new_pair(
    hides: bool, directory: Path, tmp_path: Path
) -> None:
    with (
        Confused(directory, ADDRESS, Habits()) as server,
        rekeyed(tmp_path / "root", server) as house,
    ):
        before = house.key_ids
        assert [*server.objects] == ["object-1"]
        server.confused, server.hides = True, hides
        result = house.run("key_manager rekey")
        assert result.status == FAILED
        remains, failed = result.failures
        why = "it gave the new key pair the identifier of another object"
        assert f"may remain on key server {ADDRESS}: " in remains
        assert remains.endswith("it is still there" if hides else why)
        assert failed == (
            f"key_manager: the new key pair could not be stored on {ADDRESS}: {why}; "
            "nothing was changed"
        )
        assert [*server.objects] == ["object-1", "object-2"][: 2 if hides else 1]
        server.confused = server.hides = False
        told = house.boot()
        assert not told.warnings
        assert house.key_ids == before
        assert not any(disk.locked for disk in house.disks)


class Lagging(ChoosyServer):
    """A cluster that shows a new object only when it is `caught_up`."""

    caught_up = True
    destroys_unseen = False

    def _hidden(self, identifier: str) -> bool:
        return identifier != "object-1" and not self.caught_up

    def _locate(self, payload: bytes, version: Version) -> list[Element]:
        every = self.objects
        self.objects = {each: every[each] for each in every if not self._hidden(each)}
        try:
            return super()._locate(payload, version)
        finally:
            self.objects = every

    def _find(self, payload: bytes) -> tuple[str, choosy.Stored]:
        identifier, stored = super()._find(payload)
        if self._hidden(identifier):
            raise choosy._Refused(choosy.NOT_FOUND)
        return identifier, stored

    def _destroy(self, payload: bytes, version: Version) -> list[Element]:
        if not self.destroys_unseen:
            return super()._destroy(payload, version)
        identifier, _stored = super()._find(payload)
        del self.objects[identifier]
        return [choosy._identifier(identifier)]


@pytest.mark.parametrize("destroys_unseen", [False, True])
def test_a_pair_that_is_not_found_after_register_may_remain(
    destroys_unseen: bool, directory: Path, tmp_path: Path
) -> None:
    with (
        Lagging(directory, ADDRESS, Habits()) as server,
        rekeyed(tmp_path / "root", server) as house,
    ):
        server.caught_up, server.destroys_unseen = False, destroys_unseen
        result = house.run("key_manager rekey")
        server.caught_up = True
        assert result.status == FAILED
        *remains, failed = result.failures
        assert failed == (
            f"key_manager: the new key pair could not be stored on {ADDRESS}: item not found; "
            "nothing was changed"
        )
        if destroys_unseen:
            assert remains == []
            assert [*server.objects] == ["object-1"]
        else:
            (line,) = remains
            assert line.endswith(
                f"may remain on key server {ADDRESS}: it is not found now, and may appear later"
            )
            assert line.split()[3] in house.must("key_manager query").out


def test_a_pair_that_is_not_found_after_a_lost_answer_may_remain(
    directory: Path, tmp_path: Path
) -> None:
    class Closing(Lagging):
        def _register(self, payload: bytes, version: Version) -> list[Element]:
            answer = super()._register(payload, version)
            if not self.caught_up:
                raise choosy._Closed
            return answer

    with (
        Closing(directory, ADDRESS, Habits()) as server,
        rekeyed(tmp_path / "root", server) as house,
    ):
        server.caught_up = False
        result = house.run("key_manager rekey")
        server.caught_up = True
        assert result.status == FAILED
        line, failed = result.failures
        assert "closed the connection" in failed
        assert line.endswith("it is not found now, and may appear later")
        assert line.split()[3] in house.must("key_manager query").out
