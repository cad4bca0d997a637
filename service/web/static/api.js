// Requests to the service: path, body -> response and the seconds it took; refusals become ServiceError.

import { readLines } from "./lines.js";
import { currentLanguage, problemSentence, t } from "./translations.js";

const resolve = (path) => new URL(path, document.baseURI);

/**
 * The service refused a request or cannot be reached. `sentence`: in the reader's language, "" if there is none.
 * `status`: of HTTP, 0 without a response. `detail`: of the problem document, in English. `facts`: its members.
 */
export class ServiceError extends Error {
  constructor(sentence, status = 0, detail = "", facts = {}) {
    super(sentence || detail);
    this.sentence = sentence;
    this.status = status;
    this.detail = detail;
    this.facts = facts;
  }

  /** Whether the service has too much to do, and will take the same request later. */
  get isTemporary() {
    return this.status === 429 || this.status === 503;
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
 * POST to an operation. `body`: a Blob (sent as it is, with its type), a form, or an object (sent as JSON).
 * Returns {response, seconds}: the seconds until the whole body has arrived. Throws ServiceError.
 */
export async function post(path, body, { accept, signal, deadline } = {}) {
  const headers = deadline ? { "Request-Deadline": String(deadline) } : {};
  if (body instanceof FormData) {
    // the browser sets its type, with the boundary
  } else if (!(body instanceof Blob)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  } else if (body.type) {
    headers["Content-Type"] = body.type;
  }
  if (accept) headers.Accept = accept;
  return request(path, { method: "POST", body, headers, signal });
}

/**
 * POST a file to an operation that answers lines (NDJSON). `deadline`: seconds, of the header Request-Deadline.
 * `onLine` gets each line but the last, which is returned: {line, seconds}. Throws ServiceError, also if the last line
 * is a problem, or does not come because the connection is lost.
 */
export async function postForLines(path, file, { deadline, signal, onLine }) {
  const body = new FormData();
  body.append("image", file, file.name);
  const headers = { Accept: "application/x-ndjson", ...(deadline ? { "Request-Deadline": String(deadline) } : {}) };
  const start = performance.now();
  const response = await open(path, { method: "POST", body, headers, signal });
  if (!response.ok) throw await toServiceError(response);
  for await (const line of readLines(response.body)) {
    if (line.problem) throw fromProblem(line.problem);
    if (line.image) return { line, seconds: (performance.now() - start) / 1000 };
    onLine(line);
  }
  throw new ServiceError(t("connectionLost"));
}

async function request(path, options) {
  const start = performance.now();
  const streamed = await open(path, options);
  let blob;
  try {
    blob = await streamed.blob();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(t("connectionLost"));
  }
  const seconds = (performance.now() - start) / 1000;
  const response = new Response(blob, { status: streamed.status, headers: streamed.headers });
  if (!response.ok) throw await toServiceError(response);
  return { response, seconds };
}

/** The response, whose body is not read so far. */
async function open(path, options) {
  const headers = { ...options.headers };
  if (apiKey.get()) headers.Authorization = `Bearer ${apiKey.get()}`;
  try {
    return await fetch(resolve(path), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(t("unreachable"));
  }
}

async function toServiceError(response) {
  try {
    const problem = await response.json();
    if (problem.detail) return fromProblem(problem);
  } catch {
    // no problem document: a proxy answered in place of the service
  }
  return new ServiceError(t("unexpectedStatus", { status: response.status }), response.status);
}

function fromProblem(problem) {
  const sentence = problemSentence(currentLanguage(), problem.type) ?? "";
  return new ServiceError(sentence, problem.status, problem.detail, problem);
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

/** The start of a curl line; one that writes a file fails with the service's sentence in it. */
const startLine = (output) => ["curl", ...(output ? ["--fail-with-body"] : []), ...authorizationOptions()];

/** The curl line that sends a file as the page does. */
export const curlFile = (path, name, output) =>
  [...startLine(output), "-F", shellQuote(formField(name)), shellQuote(resolve(path).href), ...outputOptions(output)].join(" ");

/** The curl line that sends a table as the page does; the answer is a table of the same format. */
export const curlTable = (path, name, type) =>
  [...startLine(true), "--data-binary", shellQuote(`@${name}`), "-H", shellQuote(`Content-Type: ${type}`), shellQuote(resolve(path).href),
    ...outputOptions(type === "text/csv" ? "result.csv" : "result.parquet")].join(" ");

/** The curl line of an operation without a body. */
export const curlPost = (path, output) =>
  [...startLine(output), "-X POST", shellQuote(resolve(path).href), ...outputOptions(output)].join(" ");

/** The curl line that sends JSON; with `output` the response is a PNG. */
export const curlJson = (path, body, output) =>
  [...startLine(output), "-H 'Content-Type: application/json'", ...(output ? ["-H 'Accept: image/png'"] : []),
    "-d", shellQuote(JSON.stringify(body)), shellQuote(resolve(path).href), ...outputOptions(output)].join(" ");
