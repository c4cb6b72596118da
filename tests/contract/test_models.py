import gc
from datetime import UTC, datetime, timedelta, timezone

import grpc
import pytest
from grpc_health.v1 import health_pb2

from contract.conftest import QUICK
from contract.fake_server import UNAVAILABLE, FakeServer, Fault, model, version
from headstart import (
    Aborted,
    AlreadyExists,
    BackboneStatus,
    Cancelled,
    Client,
    DataLoss,
    FailedPrecondition,
    Feature,
    HeadstartError,
    Internal,
    InvalidArgument,
    MetricsSource,
    Modality,
    NotFound,
    Permission,
    PermissionDenied,
    ResourceExhausted,
    Right,
    Unauthenticated,
    Unavailable,
)
from headstart.v1 import model_service_pb2 as keeping

#: How a server that stops ends a call that it has not begun.
TURNED_AWAY = Fault(code=grpc.StatusCode.UNAVAILABLE, reason="DRAINING", metadata={"begun": "false"})
#: And one that it had begun.
CUT_OFF = Fault(code=grpc.StatusCode.UNAVAILABLE, reason="DRAINING", metadata={"begun": "true"})


def test_models_are_listed_through_all_pages(client: Client, server: FakeServer):
    server.script(
        "ListModels",
        keeping.ListModelsResponse(models=[model("a")], next_page_token="p2"),
        keeping.ListModelsResponse(models=[model("b")]),
    )

    models = client.models()

    assert [each.model for each in models] == ["a", "b"]
    assert models[0].aliases[0].alias == "stable"
    assert models[0].versions == ()


def test_usage_counts_what_is_stored_and_names_the_limits(client: Client):
    usage = client.usage()

    assert (usage.version_count, usage.version_limit, usage.stored_bytes_limit) == (3, None, 10 << 20)
    assert usage.stored_bytes == usage.version_bytes + usage.example_bytes == 5 << 20


def test_the_server_and_the_caller_are_described(client: Client):
    info, caller = client.server_info(), client.who_am_i()

    assert (info.release, info.limits.inputs, info.limits.run_duration) == ("1.0", 256, timedelta(hours=24))
    assert info.limits.versions_per_model is None
    assert info.features == (Feature.HTTP, Feature.UNSPECIFIED)
    assert info.export_formats == ("onnx",)
    assert info.default_backbones == {Modality.TEXT: "minilm", Modality.IMAGE: "efficientnet-lite0"}
    assert info.precision_reasons == {Modality.TEXT: "It is faster."}
    assert caller.permissions == (Permission(rights=(Right.PREDICT,), models=("pets-*",)),)


def test_a_model_comes_with_the_versions_of_all_pages(client: Client, server: FakeServer):
    server.script(
        "ListVersions",
        keeping.ListVersionsResponse(versions=[version(3)], next_page_token="p2"),
        keeping.ListVersionsResponse(versions=[version(2, aliases=["stable"]), version(1)]),
    )

    found = client.get_model("pets")

    assert [each.version for each in found.versions] == [3, 2, 1]
    assert found.versions[1].aliases == ("stable",)
    assert found.versions[0].metrics.source is MetricsSource.OUT_OF_FOLD
    assert found.versions[0].expire_time is None


def test_no_more_pages_are_requested_than_the_versions_need(client: Client, server: FakeServer):
    server.script(
        "ListVersions",
        keeping.ListVersionsResponse(versions=[version(3), version(2)], next_page_token="p2"),
    )

    assert [each.version for each in client.get_model("pets", max_versions=1).versions] == [3]
    assert [request.page_size for request in server.requests["ListVersions"]] == [1]
    assert client.get_model("pets", max_versions=0).versions == ()
    assert len(server.requests["ListVersions"]) == 1


def test_an_alias_is_set_and_removed(client: Client, server: FakeServer):
    assert client.set_alias("pets", "stable", 2, etag="e0").version == 2
    client.delete_alias("pets", "stable")

    (moved,), (removed,) = server.requests["SetAlias"], server.requests["DeleteAlias"]
    assert (moved.model, moved.alias, moved.version, moved.etag) == ("pets", "stable", 2, "e0")
    assert (removed.model, removed.alias, removed.etag) == ("pets", "stable", "")


def test_an_alias_gives_other_versions_a_share(client: Client, server: FakeServer):
    alias = client.set_alias("pets", "stable", 2, traffic={3: 0.05, 4: 0.1})

    assert alias.traffic == {3: 0.05, 4: 0.1}
    assert hash(alias)
    (request,) = server.requests["SetAlias"]
    assert [(each.version, each.fraction) for each in request.traffic] == [(3, 0.05), (4, 0.1)]


def test_an_alias_is_set_again_where_no_server_answered(client: Client, server: FakeServer):
    server.script("SetAlias", UNAVAILABLE, CUT_OFF)

    assert client.set_alias("pets", "stable", 2).version == 2
    assert len(server.requests["SetAlias"]) == 3


@pytest.mark.parametrize("fault", [UNAVAILABLE, CUT_OFF])
def test_what_would_fail_the_second_time_is_not_sent_again(client: Client, server: FakeServer, fault: Fault):
    for method in ("SetAlias", "DeleteVersion", "DeleteModel"):
        server.script(method, fault)

    for call in (
        lambda: client.set_alias("pets", "stable", 2, etag="e0"),
        lambda: client.delete_version("pets", 2),
        lambda: client.delete_model("pets"),
    ):
        with pytest.raises(Unavailable):
            call()
    assert {name: len(requests) for name, requests in server.requests.items()} == {
        "SetAlias": 1,
        "DeleteVersion": 1,
        "DeleteModel": 1,
    }


def test_what_a_stopping_server_has_not_begun_is_sent_again(client: Client, server: FakeServer):
    for method in ("SetAlias", "DeleteVersion", "DeleteModel"):
        server.script(method, TURNED_AWAY, TURNED_AWAY)

    client.set_alias("pets", "stable", 2, etag="e0")
    client.delete_version("pets", 2)
    client.delete_model("pets")

    assert {len(requests) for requests in server.requests.values()} == {3}


def test_a_server_that_does_not_come_back_is_given_up(server: FakeServer):
    server.standing["DeleteModel"] = TURNED_AWAY

    with Client(server.target, retries=QUICK) as client, pytest.raises(Unavailable, match="DRAINING"):
        client.delete_model("pets")

    assert len(server.requests["DeleteModel"]) == QUICK.attempts


def test_versions_and_models_are_deleted(client: Client, server: FakeServer):
    client.delete_version("pets", 2, force=True)

    assert client.delete_model("pets") == 3
    assert server.requests["DeleteVersion"][0].force


def test_erasing_an_example_reports_what_was_made_of_it(client: Client, server: FakeServer):
    deleted = client.erase_example("pets", "cat-17")

    assert deleted.versions == (("pets", 2), ("pets", 3))
    assert (deleted.unread_versions, deleted.job_ids) == ((("old", 1),), ("job-9",))
    assert deleted.deleted_contents == 2
    client.erase_example("-", "cat-17")
    assert [request.model for request in server.requests["EraseExample"]] == ["pets", "-"]


def test_backbones_have_views_and_sizes(client: Client):
    (backbone,) = client.backbones()

    assert backbone.modality is Modality.IMAGE
    assert backbone.views == {"last": 1280, "taps": 528}
    assert backbone.input_size == (224, 224)
    assert (backbone.status.backbone, backbone.status.ready) == (backbone.backbone, True)


def test_a_backbone_whose_status_is_missing_is_not_ready(client: Client, server: FakeServer):
    server.script("ListBackbones", keeping.ListBackbonesResponse(backbones=[{"backbone": "own"}]))
    assert client.backbones()[0].status == BackboneStatus(
        backbone="own", ready=False, digest="", runtime="", problem=""
    )


def test_backbones_and_versions_tell_what_executed_them(client: Client):
    assert client.backbones()[0].status.runtime == "openvino bfloat16"
    assert client.get_model("pets").versions[0].lineage.runtime == "openvino bfloat16"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgument),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPrecondition),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ResourceExhausted),
        (grpc.StatusCode.ABORTED, Aborted),
        (grpc.StatusCode.ALREADY_EXISTS, AlreadyExists),
        (grpc.StatusCode.DATA_LOSS, DataLoss),
        (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied),
        (grpc.StatusCode.INTERNAL, Internal),
        (grpc.StatusCode.CANCELLED, Cancelled),
        (grpc.StatusCode.UNIMPLEMENTED, HeadstartError),
    ],
)
def test_each_code_has_its_own_error_class(client: Client, server: FakeServer, code, kind):
    server.script("DeleteModel", Fault(code=code, message="Expected this.", reason="SOME_REASON"))

    with pytest.raises(HeadstartError) as caught:
        client.delete_model("pets")

    assert type(caught.value) is kind
    assert caught.value.code is code
    assert caught.value.reason == "SOME_REASON"
    assert caught.value.message == "Expected this."
    assert caught.value.__cause__ is None


def test_details_of_an_error_can_be_read(client: Client, server: FakeServer):
    server.script(
        "DeleteModel",
        Fault(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_FIELD",
            metadata={"limit": "128"},
            violations={"model": "too long"},
            quotas={"jobs": "at most 8"},
        ),
    )

    with pytest.raises(InvalidArgument) as caught:
        client.delete_model("pets")

    error = caught.value
    assert error.metadata == {"limit": "128"}
    assert [(each.field, each.description) for each in error.field_violations] == [("model", "too long")]
    assert [(each.subject, each.description) for each in error.quota_violations] == [("jobs", "at most 8")]
    assert error.retry_after is None


def test_where_no_server_is_the_error_says_so():
    with Client("127.0.0.1:1", retries=0) as client, pytest.raises(Unavailable) as caught:
        client.models()

    assert "No server answers at 127.0.0.1:1" in caught.value.message
    assert caught.value.reason == ""


def test_uploads_to_no_server_are_unavailable_too():
    with Client("127.0.0.1:1", retries=0) as client, pytest.raises(Unavailable):
        client.fine_tune([(b"x", "a")], model="m")


def test_a_server_reports_whether_it_is_ready(client: Client, server: FakeServer):
    server.script("Check", health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING))

    assert not client.ready()
    assert client.ready()
    server.stop()
    assert not client.ready()


def test_a_closed_client_leaves_nothing_behind(server: FakeServer):
    with Client(server.target) as client:
        client.models()
    del client
    gc.collect()


def test_only_what_is_given_is_changed(client: Client, server: FakeServer):
    client.update_version("pets", 3, tags={"a": "b"}, ttl=timedelta(hours=1))
    client.update_version("pets", 3, expire_time="never")
    client.update_model("pets", description="")

    first, second = server.requests["UpdateVersion"]
    assert list(first.update_mask.paths) == ["tags", "expiration"]
    assert (dict(first.tags), first.ttl.seconds) == ({"a": "b"}, 3600)
    assert list(second.update_mask.paths) == ["expiration"]
    assert second.WhichOneof("expiration") is None
    assert list(server.requests["UpdateModel"][0].update_mask.paths) == ["description"]


def test_moves_of_aliases_are_listed(client: Client, server: FakeServer):
    (move,) = client.alias_events("pets", "stable")

    assert (move.previous_version, move.version, move.traffic) == (2, 3, {})
    assert server.requests["ListAliasEvents"][0].alias == "stable"


def test_a_change_of_nothing_or_of_two_expirations_is_rejected(client: Client):
    with pytest.raises(ValueError, match="The update is empty"):
        client.update_version("pets", 3)
    with pytest.raises(ValueError, match="The update is empty"):
        client.update_model("pets")
    with pytest.raises(ValueError, match="not both"):
        client.update_version("pets", 3, expire_time="never", ttl=timedelta(hours=1))


def test_a_time_without_a_time_zone_is_rejected(client: Client, server: FakeServer):
    local = datetime(2030, 1, 1, 12)

    for send in (
        lambda: client.update_version("pets", 3, expire_time=local),
        lambda: client.model("pets")[3].update(expire_time=local),
        lambda: client.versions("pets", created_after=local),
        lambda: client.versions("pets", created_before=local),
    ):
        with pytest.raises(ValueError, match="must have a time zone"):
            send()
    with pytest.raises(TypeError, match="expire_time must be a datetime"):
        client.update_version("pets", 3, expire_time="tomorrow")
    assert not server.requests


def test_a_time_is_sent_with_its_time_zone(client: Client, server: FakeServer):
    zoned = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=-5)))

    client.update_version("pets", 3, expire_time=zoned)
    list(client.versions("pets", created_after=zoned, created_before=zoned))

    sent = server.requests["ListVersions"][0].filter
    for time in (server.requests["UpdateVersion"][0].expire_time, sent.created_after, sent.created_before):
        assert time.ToDatetime(UTC) == zoned


def test_versions_are_listed_page_by_page_with_a_filter(client: Client, server: FakeServer):
    server.script(
        "ListVersions",
        keeping.ListVersionsResponse(versions=[version(3)], next_page_token="p2"),
        keeping.ListVersionsResponse(versions=[version(2)]),
    )
    found = list(client.versions("pets", tags={"team": "a"}, backbone="b", order_by="version"))

    assert len(found) == 2
    first, second = server.requests["ListVersions"]
    assert (dict(first.filter.tags), first.filter.backbone, first.order_by) == ({"team": "a"}, "b", "version")
    assert (second.page_token, second.filter) == ("p2", first.filter)


def test_a_list_that_repeats_a_page_ends_with_an_error(client: Client, server: FakeServer):
    server.standing["ListModels"] = keeping.ListModelsResponse(models=[model("a")], next_page_token="p2")

    with pytest.raises(Internal, match="is invalid: a list has the same page twice"):
        list(client.models())
