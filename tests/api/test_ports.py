import pytest

from api import ports
from store.errors import InvalidInputError


def test_the_preferred_port_is_taken_when_it_is_free() -> None:
    with ports.listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
    with ports.listen("127.0.0.1", port) as again:
        assert again.getsockname() == ("127.0.0.1", port)


def test_a_busy_port_gives_another() -> None:
    with ports.listen("127.0.0.1", 0) as first:
        busy = first.getsockname()[1]
        with ports.listen("127.0.0.1", busy) as second:
            assert second.getsockname()[1] != busy
        assert ports.free("127.0.0.1", busy) != busy


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(InvalidInputError, match="not an IPv4 address of this machine"):
        ports.listen(host, 0)
