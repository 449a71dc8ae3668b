"""Wrong tokens: whoever tries many different ones has to wait, and nobody else."""

import pytest

from emow2v.server.people.attempts import MOST_ADDRESSES, MOST_WRONG, PERIOD_S, Attempts, network


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def tried(attempts: Attempts, address: str, many: int) -> None:
    for number in range(many):
        attempts.count_wrong(address, f"wrong {number}")


def test_many_different_tokens_have_to_wait(clock: Clock) -> None:
    attempts = Attempts(clock)
    tried(attempts, "10.0.0.1", MOST_WRONG - 1)
    assert attempts.must_wait("10.0.0.1", "new") == 0
    attempts.count_wrong("10.0.0.1", "one more")
    assert attempts.must_wait("10.0.0.1", "new") == PERIOD_S
    assert attempts.must_wait("10.0.0.2", "new") == 0  # somebody else
    clock.now += PERIOD_S / 2
    assert attempts.must_wait("10.0.0.1", "new") == PERIOD_S / 2
    clock.now += PERIOD_S / 2
    assert attempts.must_wait("10.0.0.1", "new") == 0


def test_one_wrong_token_counts_once(clock: Clock) -> None:
    """A page with an expired cookie asks every second."""
    attempts = Attempts(clock)
    assert [attempts.count_wrong("10.0.0.1", "expired") for _ in range(100)] == [True] + 99 * [False]
    assert attempts.must_wait("10.0.0.1", "new") == 0


def test_people_at_the_same_address_go_on(clock: Clock) -> None:
    attempts = Attempts(clock)
    assert attempts.accept("10.0.0.1", "anna") and not attempts.accept("10.0.0.1", "anna")
    tried(attempts, "10.0.0.1", 50)
    assert attempts.must_wait("10.0.0.1", "anna") == 0
    assert attempts.must_wait("10.0.0.1", "bob") > 0  # nobody learns by guessing whose token it would be


def test_an_address_of_ipv6_is_a_network() -> None:
    assert network("2001:db8:1:2:3::4") == network("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert network("2001:db8:1:3::4") != network("2001:db8:1:2::4")
    assert network("fe80::1%eth0") == "fe80::/64"
    assert network("::ffff:10.0.0.1") == network("10.0.0.1") == "10.0.0.1"
    assert network("testclient") == "testclient" and network("") == ""


def test_memory_stays_bounded(clock: Clock) -> None:
    attempts = Attempts(clock)
    for number in range(MOST_ADDRESSES + 100):
        attempts.count_wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "x")
        attempts.accept(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "y")
    assert len(attempts._wrong) == len(attempts._accepted) == MOST_ADDRESSES
    for number in range(5000):
        attempts.accept("10.0.0.1", f"{number}")
    assert len(attempts._accepted["10.0.0.1"]) == 1000
