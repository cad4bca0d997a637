"""Schemas of /v2 for OpenAPI. Inference requests and responses do not use them: see service.api.v2.tensors.

Names and required members are those of the protocol's own OpenAPI document; a test compares the two.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from service.api.query import V2_BODY_PARAMETERS


class Live(BaseModel):
    live: bool


class Ready(BaseModel):
    ready: bool


class ModelReady(BaseModel):
    name: str
    ready: bool


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    name: str
    datatype: str = Field(description="UINT8, FP32 or FP64")
    shape: list[int] = Field(description="-1 for a free size")


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class RequestInput(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = Field(None, description="binary_data_size: bytes behind the JSON, not data")
    data: list[Any] | None = Field(None, description="numbers, nested or in one list; or binary_data_size")


class RequestOutput(BaseModel):
    name: str
    parameters: dict[str, Any] | None = Field(None, description="binary_data: true for bytes behind the JSON")


class InferenceRequest(BaseModel):
    id: str | None = Field(None, description="comes back with the answer")
    parameters: dict[str, Any] | None = Field(
        None, description=", ".join(("binary_data_output", "timeout (microseconds)", *V2_BODY_PARAMETERS))
    )
    inputs: list[RequestInput] = Field(description="the model's one input, with its batch axis")
    outputs: list[RequestOutput] | None = Field(None, description="those that are wanted; all without it")


class ResponseOutput(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = Field(None, description="numbers in one list, row by row; absent if they follow as bytes")


class InferenceResponse(BaseModel):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[ResponseOutput]


class ProtocolError(BaseModel):
    error: str


class IndexRequest(BaseModel):
    ready: bool = Field(default=False, description="only models that can be asked")


class IndexEntry(BaseModel):
    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class Duration(BaseModel):
    """count 0: this is not measured, or it never happened."""

    count: int = 0
    ns: int = 0


class InferenceStatistics(BaseModel):
    success: Duration
    fail: Duration
    queue: Duration = Field(default=Duration(), description="not measured")
    compute_input: Duration = Field(default=Duration(), description="not measured")
    compute_infer: Duration = Field(description="runs of the graph")
    compute_output: Duration = Field(default=Duration(), description="not measured")
    cache_hit: Duration = Field(default=Duration(), description="there is no cache")
    cache_miss: Duration = Field(default=Duration(), description="there is no cache")


class ModelStatistics(BaseModel):
    name: str
    version: str
    last_inference: int = Field(description="milliseconds since 1970")
    inference_count: int = Field(description="samples of successful requests")
    execution_count: int = Field(description="runs of the graph")
    inference_stats: InferenceStatistics
    batch_stats: list[Any] = Field(default=[], description="not measured")


class StatisticsList(BaseModel):
    model_stats: list[ModelStatistics]
