// Requests to the service: path, body -> response and the seconds it took; refusals become ServiceError.

import { currentLanguage, problemSentence, t } from "./translations.js";

const resolve = (path) => new URL(path, document.baseURI);

/**
 * The service refused a request or cannot be reached. `sentence`: in the reader's language, "" if there is none.
 * `status`: of HTTP, 0 without a response. `detail`: of the problem document, in English.
 */
export class ServiceError extends Error {
  constructor(sentence, status = 0, detail = "") {
    super(sentence || detail);
    this.sentence = sentence;
    this.status = status;
    this.detail = detail;
  }
}

export const apiKey = {
  get: () => sessionStorage.getItem("key"),
  set: (value) => sessionStorage.setItem("key", value),
};

/** GET path -> JSON; throws ServiceError. */
export async function getJson(path) {
  const { response } = await request(path, { method: "GET" });
  return response.json();
}

/**
 * POST to an operation. `body`: a Blob (sent as it is, with its type) or an object (sent as JSON).
 * Returns {response, seconds}: the seconds until the whole body has arrived. Throws ServiceError.
 */
export async function post(path, body, { accept, signal } = {}) {
  const headers = {};
  if (!(body instanceof Blob)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  } else if (body.type) {
    headers["Content-Type"] = body.type;
  }
  if (accept) headers.Accept = accept;
  return request(path, { method: "POST", body, headers, signal });
}

async function request(path, options) {
  const headers = { ...options.headers };
  if (apiKey.get()) headers.Authorization = `Bearer ${apiKey.get()}`;
  const start = performance.now();
  let streamed, blob;
  try {
    streamed = await fetch(resolve(path), { ...options, headers });
    blob = await streamed.blob();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(t("unreachable"));
  }
  const seconds = (performance.now() - start) / 1000;
  const response = new Response(blob, { status: streamed.status, headers: streamed.headers });
  if (!response.ok) throw await toServiceError(response);
  return { response, seconds };
}

async function toServiceError(response) {
  try {
    const problem = await response.json();
    const sentence = problemSentence(currentLanguage(), problem.type) ?? "";
    if (problem.detail) return new ServiceError(sentence, response.status, problem.detail);
  } catch {
    // no problem document: a proxy answered in place of the service
  }
  return new ServiceError(t("unexpectedStatus", { status: response.status }), response.status);
}

/**
 * Runs one task at a time and skips those that are out of date; the last task always runs.
 * A task is an async function; `onError` gets what it throws.
 */
export function latestOnly(onError) {
  let isRunning = false;
  let pending = null;
  return async function run(task) {
    pending = task;
    if (isRunning) return;
    isRunning = true;
    countRunning(1);
    while (pending) {
      const next = pending;
      pending = null;
      try {
        await next();
      } catch (error) {
        onError(error);
      }
    }
    isRunning = false;
    countRunning(-1);
  };
}

let runningCount = 0; // loops of `latestOnly`

/** Tells assistive technology, by aria-busy, whether the content of the stage is about to change. */
function countRunning(change) {
  runningCount += change;
  document.getElementById("stage").setAttribute("aria-busy", String(runningCount > 0));
}

// --- the curl line -----------------------------------------------------------------------------------------

const shellQuote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** The value of -F, which needs its own quotes around a file name that holds ; , or a quote (curl's manual). */
const formField = (name) =>
  /^[\w.-]+$/.test(name) ? `image=@${name}` : `image=@"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;

const authorizationOptions = () => (apiKey.get() ? ["-H", "'Authorization: Bearer YOUR-KEY'"] : []);
const outputOptions = (output) => (output ? ["-o", shellQuote(output)] : []);

/** The curl line that sends a file as the page does. */
export const curlFile = (path, name, output) =>
  ["curl", ...authorizationOptions(), "-F", shellQuote(formField(name)), shellQuote(resolve(path).href), ...outputOptions(output)].join(" ");

/** The curl line of an operation without a body. */
export const curlPost = (path, output) =>
  ["curl", ...authorizationOptions(), "-X POST", shellQuote(resolve(path).href), ...outputOptions(output)].join(" ");

/** The curl line that sends JSON; with `output` the response is a PNG. */
export const curlJson = (path, body, output) =>
  ["curl", ...authorizationOptions(), "-H 'Content-Type: application/json'", ...(output ? ["-H 'Accept: image/png'"] : []),
    "-d", shellQuote(JSON.stringify(body)), shellQuote(resolve(path).href), ...outputOptions(output)].join(" ");
