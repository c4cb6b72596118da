"""Handles: methods of the client with the name of a model, a version or an alias filled in."""

import pytest

from contract.fake_server import FakeServer
from headstart import AsyncClient, Client, NotFound, VersionRef
from headstart.v1 import evaluation_service_pb2 as evaluating
from headstart.v1 import model_service_pb2 as keeping

PAIRS = [(b"1", "a"), (b"2", "b")]


def test_making_handles_sends_nothing(client: Client, server: FakeServer):
    pets = client.model("pets")

    assert (repr(pets), pets.model) == ("ModelHandle('pets')", "pets")
    assert repr(pets[3]) == "VersionHandle('pets@3')"
    assert repr(pets["stable"]) == "VersionHandle('pets@stable')"
    assert repr(pets.alias("stable")) == "AliasHandle('pets@stable')"
    assert not server.requests


def test_a_model_is_fine_tuned_and_predicts_by_its_handle(client: Client, server: FakeServer):
    pets = client.model("pets")

    version = pets.fine_tune(PAIRS, seed=3).result()
    one = pets[version.version].predict(b"cat")
    many = pets["stable"].predict([b"cat", b"dog"], top_k=1)

    assert server.requests["FineTune"][0][0].spec.model == "pets"
    assert server.requests["FineTune"][0][0].spec.seed == 3
    assert (one.label, [each.label for each in many]) == ("cat", ["cat", "dog"])
    selectors = [request.targets[0] for request in server.requests["Predict"]]
    assert [(each.version, each.alias) for each in selectors] == [(3, ""), (0, "stable")]
    assert pets.predict(b"cat").model == "pets"
    assert [each.outcome.label for each in pets[2].predict_stream([b"cat"])] == ["cat"]


def test_a_version_is_compared_with_a_baseline(client: Client, server: FakeServer):
    pets = client.model("pets")
    for baseline in (1, "stable", pets[1], "dogs@2", VersionRef("pets", 1)):
        pets[3].compare(baseline)

    specs = [stream[0].spec for stream in server.requests["Compare"]]
    assert isinstance(specs[0], evaluating.CompareSpec)
    assert {(each.second.model, each.second.version) for each in specs} == {("pets", 3)}
    assert [(each.first.model, each.first.version or each.first.alias) for each in specs] == [
        ("pets", 1),
        ("pets", "stable"),
        ("pets", 1),
        ("dogs", 2),
        ("pets", 1),
    ]


def test_a_version_is_described_measured_and_deleted_by_its_handle(client: Client, server: FakeServer):
    third = client.model("pets")[3]

    assert third.get().version == 3
    assert third.update(display_name="Pets").version == 3
    assert third.evaluation().version.version == 3
    assert third.evaluate(PAIRS).version == 3
    assert third.report(format="json").version == 3
    third.delete(force=True)

    for method in ("GetEvaluation", "GetReport"):
        assert server.requests[method][0].target.version == 3
    deleted = server.requests["DeleteVersion"][0]
    assert (deleted.model, deleted.version, deleted.force) == ("pets", 3, True)


def test_an_alias_is_set_read_and_deleted_by_its_handle(client: Client, server: FakeServer):
    stable = client.model("pets").alias("stable")

    assert stable.set(7, traffic={8: 0.05}).traffic == {8: 0.05}
    assert stable.get().version == 2
    assert {each.alias for each in stable.history()} <= {"stable"}
    stable.delete()
    with pytest.raises(NotFound, match="Model 'pets' has no alias 'beta'"):
        client.model("pets").alias("beta").get()


def test_a_model_is_read_and_deleted_by_its_handle(client: Client, server: FakeServer):
    pets = client.model("pets")

    assert [each.version for each in pets.versions()] == [3, 2, 1]
    assert [each.alias for each in pets.aliases()] == ["stable"]
    assert pets.get(max_versions=1).model == "pets"
    assert [each.job_id for each in pets.jobs("QUEUED")] == ["job-1"]
    assert pets.delete() == 3
    assert isinstance(server.requests["DeleteModel"][0], keeping.DeleteModelRequest)


@pytest.mark.parametrize(
    ("use", "kind", "message"),
    [
        (lambda client: client.model("pets@3"), ValueError, r"model\('pets'\)\[3\]"),
        (lambda client: client.model("pets@beta"), ValueError, r"model\('pets'\)\['beta'\]"),
        (lambda client: client.model("pets")[0], ValueError, "The number of a version is 1 or more. Rec"),
        (lambda client: client.model("pets")[True], ValueError, "The number of a version is 1 or more. Rec"),
        (lambda client: client.model("pets")[1.0], TypeError, "integer"),
        (
            lambda client: client.model("pets")["stable"].delete(),
            ValueError,
            "Name the version by its number",
        ),
        (lambda client: list(client.model("pets")), TypeError, "not iterable"),
    ],
)
def test_a_handle_that_cannot_be_is_an_error(client: Client, server: FakeServer, use, kind, message):
    with pytest.raises(kind, match=message):
        use(client)
    assert not server.requests


async def test_asynchronous_handles_do_the_same(server: FakeServer):
    async with AsyncClient(server.target) as client:
        pets = client.model("pets")
        version = await (await pets.fine_tune(PAIRS)).result()
        assert (await pets[version.version].predict(b"cat")).label == "cat"
        await pets[3].compare(1)
        assert (await pets.alias("stable").set(7, traffic={8: 0.05})).version == 7
        assert (await pets.alias("stable").get()).version == 2
        assert [each.version for each in await pets.versions()] == [3, 2, 1]
        assert [each.job_id async for each in pets.jobs()] == ["job-1"]
        assert [each.outcome.label async for each in pets.predict_stream([b"cat"])] == ["cat"]
        assert (await pets[3].get()).version == 3
        assert await pets.delete() == 3
