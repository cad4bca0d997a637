// What the service refuses, by the type of its problem document, for readers of other languages than its own.

const KIND = "urn:autoencoder:";

export const REFUSALS = {
  ko: {
    "malformed-body": "보낸 내용을 읽을 수 없습니다. 파일이 손상되지 않았는지 확인해 주세요.",
    "malformed-request": "요청의 형식이 올바르지 않습니다.",
    "unauthorized": "API 키가 필요합니다.",
    "unknown-model": "그런 모델이 없습니다.",
    "unknown-version": "그 모델에 그런 버전이 없습니다.",
    "unknown-operation": "그런 작업이 없습니다.",
    "not-acceptable": "요청한 형식으로는 답할 수 없습니다.",
    "too-slow": "전송이 너무 느려 중단했습니다. 연결을 확인하고 다시 시도해 주세요.",
    "operation-missing": "이 모델은 그 작업을 하지 못합니다.",
    "latents-of-another-model": "다른 모델이나 다른 버전의 잠재 표현입니다.",
    "too-large": "너무 큽니다. 더 작은 이미지로 시도해 주세요.",
    "unsupported-media-type": "읽을 수 없는 형식입니다. PNG, JPEG, WebP, TIFF, BMP 이미지를 보내 주세요.",
    "invalid-input": "이 모델이 받을 수 없는 입력입니다.",
    "overloaded": "지금은 요청이 너무 많습니다. 잠시 뒤에 다시 시도해 주세요.",
    "headers-too-large": "요청의 헤더가 너무 큽니다.",
    "rate-limited": "이 키로 너무 자주 요청했습니다. 잠시 뒤에 다시 시도해 주세요.",
    "model-failed": "모델이 이 입력을 처리하지 못했습니다.",
    "too-many-connections": "연결이 너무 많습니다. 잠시 뒤에 다시 시도해 주세요.",
    "not-ready": "서비스가 아직 준비되지 않았습니다. 잠시 뒤에 다시 시도해 주세요.",
    "deadline-exceeded": "제한 시간 안에 끝나지 않았습니다.",
  },
};

/** The sentence for a problem's type in that language, or null if there is none. */
export const refusalIn = (language, type = "") => REFUSALS[language]?.[type.replace(KIND, "")] ?? null;
