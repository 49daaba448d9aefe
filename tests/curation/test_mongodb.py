import psutil
import pymongo
import pytest

from curation import mongodb, servers
from store.errors import ConflictError


@pytest.fixture
def database(workspace):
    server = mongodb.start(workspace)
    yield server
    server.stop()


def test_what_was_stored_is_there_after_a_stop_and_after_a_kill(workspace, database):
    with pymongo.MongoClient(mongodb.uri(database)) as client:
        client.shop.apples.with_options(write_concern=pymongo.WriteConcern(j=True)).insert_one({"_id": 1})
    database.process.kill()
    database.process.wait()
    assert (workspace.home / "mongodb" / "mongod.lock").read_text()  # stale

    again = mongodb.start(workspace)
    again.stop()
    again.stop()
    assert not psutil.pid_exists(again.process.pid)
    third = mongodb.start(workspace)
    try:
        with pymongo.MongoClient(mongodb.uri(third)) as client:
            assert client.shop.apples.count_documents({}) == 1
    finally:
        third.stop()


def test_it_listens_on_this_machine_only(database):
    listening = [c for c in psutil.Process(database.process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [(c.laddr.ip, c.laddr.port) for c in listening] == [("127.0.0.1", database.port)]


def test_a_second_one_on_the_same_workspace_is_a_sentence(workspace, database):
    with pytest.raises(ConflictError, match=f"open already: MongoDB runs there as process {database.process.pid}"):
        mongodb.start(workspace)


def test_a_mongod_that_cannot_start_names_its_log(workspace):
    (workspace.home / "mongodb").mkdir()
    (workspace.home / "mongodb" / "WiredTiger.turtle").mkdir()
    with pytest.raises(servers.ServerEndedError, match=r"exit code .* see .*mongodb\.log"):
        mongodb.start(workspace)
