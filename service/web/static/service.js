// Speaks to the service: a question in, the answer and the seconds it took out; refusals become Refused.

import { refusalIn } from "./refusals.js";
import { currentLanguage, say } from "./words.js";

const address = (path) => new URL(path, document.baseURI);

/**
 * A refusal: a sentence in the reader's language, or "" if there is none, and what the service says of it, which is the
 * `detail` of its problem document, in English.
 */
export class Refused extends Error {
  constructor(sentence, status = 0, detail = "") {
    super(sentence || detail);
    this.sentence = sentence;
    this.status = status;
    this.detail = detail;
  }
}

export const key = {
  get: () => sessionStorage.getItem("key"),
  set: (value) => sessionStorage.setItem("key", value),
};

/** GET path -> JSON; raises Refused. */
export async function get(path) {
  const { response } = await answered(path, { method: "GET" });
  return response.json();
}

/**
 * POST to an operation. `body`: a Blob (sent as it is, with its type) or an object (sent as JSON).
 * Returns {response, seconds}; the seconds end when the whole answer is here, as does the response's blob.
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
  return answered(path, { method: "POST", body, headers, signal });
}

async function answered(path, options) {
  const headers = { ...options.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  const start = performance.now();
  let response, blob;
  try {
    response = await fetch(address(path), { ...options, headers });
    blob = await response.blob();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(say("offline"));
  }
  const seconds = (performance.now() - start) / 1000;
  const whole = new Response(blob, { status: response.status, headers: response.headers });
  if (!response.ok) throw await refusal(whole);
  return { response: whole, seconds };
}

async function refusal(response) {
  try {
    const problem = await response.json();
    const sentence = refusalIn(currentLanguage(), problem.type) ?? "";
    if (problem.detail) return new Refused(sentence, response.status, problem.detail);
  } catch {
    // no problem document: something between us and the service answered
  }
  return new Refused(say("broken", { status: response.status }), response.status);
}

/**
 * Runs one question at a time and skips those that are out of date: what was asked last is always answered.
 * A question is an async function; `failed` gets what it throws.
 */
export function latest(failed) {
  let running = false;
  let waiting = null;
  return async function ask(question) {
    waiting = question;
    if (running) return;
    running = true;
    busy(1);
    while (waiting) {
      const next = waiting;
      waiting = null;
      try {
        await next();
      } catch (error) {
        failed(error);
      }
    }
    running = false;
    busy(-1);
  };
}

/** Told to assistive technology: what is shown is about to change. */
function busy(more) {
  atWork += more;
  document.getElementById("stage").setAttribute("aria-busy", String(atWork > 0));
}

let atWork = 0; // loops of `latest`

// --- the curl line -----------------------------------------------------------------------------------------

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** -F needs its own quotes around a file name that holds ; , or a quote (curl's manual). */
const formFile = (name) =>
  /^[\w.-]+$/.test(name) ? `image=@${name}` : `image=@"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;

const authorization = () => (key.get() ? ["-H", "'Authorization: Bearer YOUR-KEY'"] : []);

/** The line that sends a file as the page did. */
export const curlFile = (path, name, output) =>
  ["curl", ...authorization(), "-F", quoted(formFile(name)), quoted(address(path).href), ...(output ? ["-o", quoted(output)] : [])].join(" ");

/** The line that sends JSON and gets a picture. */
export const curlJson = (path, document_, output) =>
  ["curl", ...authorization(), "-H 'Content-Type: application/json'", ...(output ? ["-H 'Accept: image/png'"] : []),
    "-d", quoted(JSON.stringify(document_)), quoted(address(path).href), ...(output ? ["-o", quoted(output)] : [])].join(" ");
