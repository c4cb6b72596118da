import grpc
import pytest

from headstart.v1 import model_pb2
from headstart.v1 import model_service_pb2 as keeping
from integration.server.calls import Api, digit, digits, refused
from server_process import ServerProcess


def get(api: Api, model: str) -> model_pb2.Model:
    return api.models.GetModel(keeping.GetModelRequest(model=model)).model


def set_alias(api: Api, model: str, version: int | None, **fields) -> model_pb2.Alias:
    request = keeping.SetAliasRequest(model=model, alias="stable", version=version, **fields)
    return api.models.SetAlias(request).alias


def delete_version(api: Api, model: str, version: int, **fields) -> None:
    api.models.DeleteVersion(keeping.DeleteVersionRequest(model=model, version=version, **fields))


@pytest.fixture
def three(api: Api, model: str) -> str:
    """A model with three versions."""
    for count in (2, 3, 4):
        api.published(digits((0, 1), count), model=model)
    return model


def test_a_model_lists_its_versions_by_page_the_newest_first(api: Api, three: str):
    model, list_versions = get(api, three), api.models.ListVersions
    first = list_versions(keeping.ListVersionsRequest(model=three, page_size=2))
    token = first.next_page_token
    second = list_versions(keeping.ListVersionsRequest(model=three, page_size=2, page_token=token))

    assert [version.version for version in first.versions] == [3, 2]
    assert [version.version for version in second.versions] == [1]
    assert not second.next_page_token
    assert (model.model, model.newest_version, model.version_count) == (three, 3, 3)
    assert [version.lineage.example_count for version in first.versions] == [8, 6]
    assert not first.versions[0].HasField("expire_time")


def test_models_are_listed_by_page_by_name(api: Api, digits_model: str, three: str):
    names, token = [], ""
    while True:
        page = api.models.ListModels(keeping.ListModelsRequest(page_size=1, page_token=token))
        names += [model.model for model in page.models]
        token = page.next_page_token
        if not token:
            break

    assert names == sorted(set(names))
    assert {digits_model, three} <= set(names)


def test_an_alias_is_set_moved_and_removed_and_predictions_follow_at_once(api: Api, three: str):
    def answering() -> int:
        return api.predict(three, digit(0, 20), alias="stable").results[0].version

    alias = set_alias(api, three, 1)
    assert (alias.alias, alias.version, answering()) == ("stable", 1, 1)
    moved = set_alias(api, three, 3)
    assert (moved.version, answering()) == (3, 3)
    assert moved.etag != alias.etag
    assert list(get(api, three).aliases) == [moved]
    assert list(api.versions(three)[0].aliases) == ["stable"]
    refusal = refused(lambda: set_alias(api, three, None))
    assert (refusal.code, list(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, ["version"])
    api.models.DeleteAlias(keeping.DeleteAliasRequest(model=three, alias="stable"))
    refusal = refused(answering)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "ALIAS_NOT_FOUND")


def test_an_alias_that_someone_else_moved_is_not_moved_by_etag(api: Api, three: str):
    first = set_alias(api, three, 1)
    second = set_alias(api, three, 2, etag=first.etag)
    refusal = refused(lambda: set_alias(api, three, 3, etag=first.etag))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert first.etag in refusal.message
    assert second.etag != first.etag
    assert api.predict(three, digit(0, 20), alias="stable").results[0].version == 2


def test_a_fine_tune_moves_the_alias_it_names_when_it_succeeds(api: Api, three: str):
    set_alias(api, three, 1)
    job = api.published(digits((0, 1), 5), model=three, alias="stable")

    assert api.predict(three, digit(0, 20), alias="stable").results[0].version == job.version == 4


def test_a_version_with_an_alias_is_deleted_by_force_only(api: Api, three: str):
    set_alias(api, three, 2)
    refusal = refused(lambda: delete_version(api, three, 2))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "VERSION_IN_USE")
    assert "stable" in refusal.message

    delete_version(api, three, 2, force=True)
    assert [version.version for version in api.versions(three)] == [3, 1]
    assert not get(api, three).aliases
    refusal = refused(lambda: api.predict(three, digit(0, 20), version=2))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND")


def test_without_its_newest_version_a_model_answers_by_the_one_before(api: Api, three: str):
    assert api.predict(three, digit(0, 20)).results[0].version == 3
    delete_version(api, three, 3)

    assert api.predict(three, digit(0, 20)).results[0].version == 2
    assert get(api, three).newest_version == 2


def test_the_number_of_a_deleted_version_is_never_used_again(api: Api, three: str):
    delete_version(api, three, 3)
    assert api.published(digits((0, 1), 5), model=three).version == 4

    response = api.models.DeleteModel(keeping.DeleteModelRequest(model=three, force=True))
    assert response.deleted_versions == 3
    assert api.published(digits((0, 1), 5), model=three).version == 5


def test_a_deleted_model_is_gone_with_its_files(api: Api, server: ServerProcess, three: str):
    set_alias(api, three, 1)
    ids = [version.lineage.job_id for version in api.versions(three)]
    assert all(list((server.data / "versions").glob(f"{job_id}.*")) for job_id in ids)
    api.models.DeleteModel(keeping.DeleteModelRequest(model=three, force=True))

    for call in (lambda: get(api, three), lambda: api.predict(three, digit(0, 20))):
        refusal = refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
        assert three in refusal.message
    assert not any(list((server.data / "versions").glob(f"{job_id}.*")) for job_id in ids)


def test_the_backbones_are_listed_with_their_facts(api: Api):
    response = api.models.ListBackbones(keeping.ListBackbonesRequest())
    backbones = response.backbones
    default = next(backbone for backbone in backbones if backbone.default)
    assert [each.backbone for each in response.statuses] == [each.backbone for each in backbones]
    status = next(each for each in response.statuses if each.backbone == default.backbone)

    assert [backbone.backbone for backbone in backbones] == sorted(
        backbone.backbone for backbone in backbones
    )
    assert default.backbone == "efficientnet-lite0"
    assert status.ready
    assert len(status.digest) == 64
    assert default.modality == model_pb2.MODALITY_IMAGE
    assert list(default.input_size) == [224, 224]
    assert default.views["last"] == 1280
    assert default.license == "Apache-2.0"
    assert default.parameter_count > 3_000_000


def test_the_backbones_are_listed_by_page(api: Api):
    everything = api.models.ListBackbones(keeping.ListBackbonesRequest()).backbones
    first = api.models.ListBackbones(keeping.ListBackbonesRequest(page_size=1))
    rest = api.models.ListBackbones(keeping.ListBackbonesRequest(page_token=first.next_page_token))

    assert [*first.backbones, *rest.backbones] == list(everything)
