import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emow2v.errors import DatabaseError
from emow2v.nova.connection import Connection, Credentials, Databases
from emow2v.nova.store import Dataset

pymongo = pytest.importorskip("pymongo", reason="pymongo is not installed")

import nova_databases
import webs
from mongo_wire import mongo_wire
from waiting import until

PASSWORD = "s3cret-of-the-database"


def read(connection: Connection) -> None:
    """Ask for a session, and end the connection."""
    try:
        Dataset(connection, "study").check_sessions(["first"])
    finally:
        connection.close()


def fill(port: int, **options: Any) -> None:
    with pymongo.MongoClient("127.0.0.1", port, directConnection=True, **options) as client:
        nova_databases.dataset(client["study"])


@pytest.mark.parametrize(
    ("allowed", "host", "port", "found"),
    [
        ("nova.example.org", "nova.example.org", "", ("nova.example.org", 27017)),
        ("nova.example.org:37317", "NOVA.example.org", "37317", ("nova.example.org", 37317)),
        ("127.0.0.1", "mongodb://127.0.0.1", "27017", ("127.0.0.1", 27017)),
        ("127.0.0.1:5", "mongodb://127.0.0.1:5/", "5", ("127.0.0.1", 5)),
        ("[::1]:5", "[::1]", "5", ("[::1]", 5)),
    ],
)
def test_a_host_is_allowed_with_its_port(allowed: str, host: str, port: str, found: tuple[str, int]) -> None:
    databases = Databases((allowed,))
    databases.check()
    assert databases.address(host, port) == found
    with pytest.raises(DatabaseError, match="is not allowed here"):
        databases.address(host.replace(":5", ""), "6")


def test_a_password_before_a_host_is_not_shown() -> None:
    for host in ("anna:letmein@127.0.0.1", "mongodb://anna:letmein@127.0.0.1", "mongodb://anna:let/me@in@127.0.0.1"):
        with pytest.raises(DatabaseError, match=r"^dbHost is \.\.\.@127\.0\.0\.1; expected a host"):
            Databases(("127.0.0.1",)).address(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "mongodb://user:password@127.0.0.1",
        "mongodb+srv://nova.example.org",
        "127.0.0.1,10.0.0.1",
        "127.0.0.1/?tls=false",
        "127.0.0.1:27017@10.0.0.1",
        "::1",
        "[::1",
        "x" * 300,
        "127.0.0.1\n",
        "/tmp/mongodb.sock",
        "%2ftmp%2fmongodb.sock",
    ],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    databases = Databases(("127.0.0.1",))
    if host.strip() == "127.0.0.1":  # blanks around a host are no other host
        assert databases.address(host, "") == ("127.0.0.1", 27017)
        return
    with pytest.raises(DatabaseError, match="expected a host, such as"):
        databases.address(host, "")


@pytest.mark.parametrize(
    ("databases", "sentence"),
    [
        (Databases(("a b",)), "--allow-database is a b; expected a host"),
        (Databases(("a:0",)), "The port of the database is 0; expected one number"),
        (Databases(("a",), authorities=Path("nowhere.pem")), "--database-ca nowhere.pem is no file"),
        (Databases(("",)), "--allow-database is empty; expected a host"),
        (Databases(("a",), authorities=Path(__file__)), "test_connection.py cannot be read .no certificate."),
        (Databases(("a",), Credentials("", "x")), "--database-password is set without --database-user"),
        (Databases((), Credentials("nova", "x")), "--database-user has no effect without --allow-database"),
        (Databases((), tls=False), "--database-no-tls has no effect without --allow-database"),
        (
            Databases(("a",), tls=False, authorities=Path(__file__)),
            "--database-ca has no effect with --database-no-tls",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(databases: Databases, sentence: str) -> None:
    with pytest.raises(DatabaseError, match=sentence):
        databases.check()


def test_a_password_is_never_shown_and_reaches_other_processes() -> None:
    databases = Databases(("a",), Credentials("nova", PASSWORD))
    assert PASSWORD not in repr(databases)
    assert pickle.loads(pickle.dumps(databases)).credentials.password == PASSWORD


@pytest.mark.parametrize(
    ("user", "password", "sentence"),
    [
        ("nova", "wrong", "refuses the user nova; check dbUser and dbPassword"),
        ("other", PASSWORD, "refuses the user other; check dbUser and dbPassword"),
        ("", "", "does not allow this to requests without a user|refuses requests without a user"),
    ],
)
def test_a_user_that_the_database_refuses(user: str, password: str, sentence: str) -> None:
    with mongo_wire({"nova": PASSWORD}) as server:
        fill(server.port, username="nova", password=PASSWORD)
        databases = Databases((f"127.0.0.1:{server.port}",), tls=False)
        read(databases.connect("127.0.0.1", str(server.port), Credentials("nova", PASSWORD)))
        with pytest.raises(DatabaseError, match=sentence) as refused:
            read(databases.connect("127.0.0.1", str(server.port), Credentials(user, password)))
        assert PASSWORD not in str(refused.value) and refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("user", "password", "sentence"),
    [
        ("", "x", "dbPassword is set without dbUser"),
        ("a\0b", "x", "dbUser is a.*; expected a name without control characters"),
        ("a\ud800", "x", "expected a name without control characters"),
        ("a", "x\0", "dbPassword holds a character that no password of MongoDB has"),
        ("a", "\ud800", "dbPassword holds a character"),
        ("a", "\u0627b", "dbPassword holds a character"),  # of two directions of writing
    ],
)
def test_credentials_that_no_user_has_are_refused(user: str, password: str, sentence: str) -> None:
    with pytest.raises(DatabaseError, match=sentence):
        Databases(("a",)).connect("a", "", Credentials(user, password))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a server with TLS for `localhost`, and the file of its authority."""
    pytest.importorskip("cryptography", reason="the extra tls is not installed")
    context, authority = webs.certificates(tmp_path_factory.mktemp("tls"), "localhost")
    with mongo_wire(context=context) as server:
        fill(server.port, tls=True, tlsAllowInvalidCertificates=True)
        yield server.port, authority


def test_tls_with_a_certificate_that_an_authority_vouches_for(secured: tuple[int, Path]) -> None:
    port, authority = secured
    read(Databases((f"localhost:{port}",), authorities=authority).connect("localhost", str(port), Credentials()))


def refusal(databases: Databases, host: str, port: int) -> str:
    """What is said; on a busy machine also that the server does not answer in time."""
    with pytest.raises(DatabaseError) as refused:
        read(databases.connect(host, str(port), Credentials()))
    return str(refused.value)


def test_a_certificate_that_nobody_vouches_for_is_refused(secured: tuple[int, Path]) -> None:
    port, _ = secured
    databases = Databases((f"localhost:{port}",), reached_s=1)
    said = until(lambda: text if "certificate" in (text := refusal(databases, "localhost", port)) else "")
    assert "has a certificate that is not trusted; " in said and "--database-ca" in said


def test_a_certificate_of_another_name_is_refused(secured: tuple[int, Path]) -> None:
    port, authority = secured
    databases = Databases((f"127.0.0.1:{port}",), authorities=authority, reached_s=1)
    until(lambda: "has a certificate that is not trusted" in refusal(databases, "127.0.0.1", port))


def test_a_database_without_tls_is_refused_where_tls_is_expected() -> None:
    with (
        mongo_wire() as server,
        pytest.raises(DatabaseError, match=r"does not answer; .* speaks TLS \(else: --database-no"),
    ):
        read(
            Databases((f"127.0.0.1:{server.port}",), reached_s=1).connect("127.0.0.1", str(server.port), Credentials())
        )


def test_a_database_with_tls_is_refused_where_none_is_expected(secured: tuple[int, Path]) -> None:
    databases = Databases((f"localhost:{secured[0]}",), tls=False, reached_s=1)
    with pytest.raises(DatabaseError, match="does not answer; check that it runs and does not require TLS"):
        read(databases.connect("localhost", str(secured[0]), Credentials()))


def test_a_database_that_is_not_there_is_told() -> None:
    with mongo_wire() as server:
        port = server.port
    databases = Databases((f"127.0.0.1:{port}",), tls=False, reached_s=1)
    with pytest.raises(DatabaseError, match=f"NOVA's database at 127.0.0.1:{port} does not answer; check that it runs"):
        read(databases.connect("127.0.0.1", str(port), Credentials()))


@pytest.mark.parametrize("name", ["", "admin", "local", "config", "a/b", "a\\b", "a.b", "a b", "$a", "a\0", "x" * 64])
def test_names_that_no_dataset_has(name: str) -> None:
    with pytest.raises(DatabaseError, match="expected the name of a dataset"):
        Dataset(Databases(("a",), tls=False).connect("a", "", Credentials()), name)


def test_a_user_where_the_database_knows_none(tmp_path: Path) -> None:
    with nova_databases.briskdb(tmp_path) as port:
        databases = Databases((f"127.0.0.1:{port}",), tls=False)
        with pytest.raises(
            DatabaseError, match=r"refuses it \(\w+\); check its log, and whether it has users\."
        ) as refused:
            read(databases.connect("127.0.0.1", str(port), Credentials("nova", PASSWORD)))
    assert PASSWORD not in str(refused.value)


def test_what_follows_a_host_is_not_shown() -> None:
    for host in (f"nova:{PASSWORD}@a.b", f"a.b/?tlsCertificateKeyFilePassword={PASSWORD}"):
        with pytest.raises(DatabaseError, match="expected a host, such as") as raised:
            Databases(("a.b",)).address(host)
        assert "a.b" in str(raised.value) and PASSWORD not in str(raised.value)
