"""Status objects become typed errors, by reason first, then by code."""

from __future__ import annotations

import pytest

from localmodel.runtime.errors import (
    AlreadyExistsError,
    ApiError,
    BadRequestError,
    ConflictError,
    ExpiredError,
    InternalError,
    NotFoundError,
    ServerTimeoutError,
    TooManyRequestsError,
    error_from_status,
    is_too_large_resource_version,
    make_status,
)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ({"reason": "AlreadyExists", "code": 409}, AlreadyExistsError),
        ({"reason": "Conflict", "code": 409}, ConflictError),
        ({"code": 409}, ConflictError),
        ({"reason": "Gone", "code": 410}, ExpiredError),
        ({"reason": "SomethingNew", "code": 404}, NotFoundError),
        ({"code": 429}, TooManyRequestsError),
    ],
)
def test_the_type_of_a_status(status: dict[str, object], error: type[ApiError]) -> None:
    assert type(error_from_status(status)) is error


def test_an_unknown_code_is_still_an_api_error_with_its_code() -> None:
    error = error_from_status({}, code=418)
    assert (type(error), error.code) == (ApiError, 418)


def test_an_error_made_by_hand_carries_a_whole_status() -> None:
    error = NotFoundError.of('nodes "n" not found', details={"name": "n"})
    assert error.status == make_status("NotFound", 404, 'nodes "n" not found', {"name": "n"})
    assert str(error) == 'nodes "n" not found'


@pytest.mark.parametrize(
    "status",
    [
        {"reason": "Timeout", "code": 504, "details": {"causes": [{"reason": "ResourceVersionTooLarge"}]}},
        {"reason": "Timeout", "code": 504, "details": {"causes": [{"message": "Too large resource version"}]}},
        {"reason": "Timeout", "code": 504, "message": "Too large resource version: 9, current: 1"},
    ],
)
def test_a_too_large_resource_version_is_known_in_all_its_shapes_4(status: dict[str, object]) -> None:
    assert is_too_large_resource_version(error_from_status(status))


def test_other_errors_are_not_too_large() -> None:
    assert not is_too_large_resource_version(ServerTimeoutError.of("slow"))
    assert not is_too_large_resource_version(BadRequestError.of("Too large resource version"))
    assert not is_too_large_resource_version(ValueError("Too large resource version"))


def test_retry_after_comes_from_the_details() -> None:
    assert InternalError.of("no", details={"retryAfterSeconds": 3}).retry_after == 3
    assert InternalError.of("no").retry_after is None
