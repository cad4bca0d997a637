// Jobs: one file, what a model made of it, and how far the work is.
//
// file -> kind, thumbnail -> Task.process -> Result {output, pages, ...}; states are told by onChange

import { post, postForLines, ServiceError } from "./api.js";
import { t } from "./translations.js";

const THUMBNAIL = 96; // pixels of the longer side
const MAX_WAITS = 30; // times that a request is sent again because the service is busy
const SIGNATURES = [ // first bytes of files that browsers do not show, or show in part
  ["pdf", /^%PDF-/], ["tiff", /^(II[*+]\0|MM\0[*+])/], ["heic", /^....ftyp(hei|hev|mif1|msf1)/s], ["gif", /^GIF8/], ["avif", /^....ftypavi/s],
];

const READ_SUFFIXES = /^(png|jpe?g|jpe|jfif|mpo|webp|tiff?|avif|bmp|gif|hei[cf]|pdf)$/i; // such a file is not what its name says

/**
 * What is to be done with files: a model's operation with the choices of the page.
 * `key` names it; `path(strength)` is the operation's address; `answersLines`: of images of any size; `deadline`: seconds.
 */
export class Task {
  constructor({ key, path, answersLines, deadline, fitBefore }) {
    Object.assign(this, { key, path, answersLines, deadline, fitBefore });
  }

  /**
   * The result of a strength: {output, pages: [{before, after}], seconds, error}, all pictures as Blobs; `pages` is
   * empty if the browser can show none. `report(news)` gets {fraction, secondsLeft} or {page, pageCount}.
   */
  async process(job, strength, { signal, report, hasPictures = true }) {
    const { file } = job;
    const isDisplayable = await job.isDisplayable;
    if (!this.answersLines) {
      const { response, seconds } = await post(this.path(strength), file, { signal });
      const output = await response.blob();
      const pages = isDisplayable ? [{ before: await this.fitBefore(file), after: output }] : await this.#fetchPictures(job, strength, signal);
      return { output, pages, seconds, error: response.headers.get("Reconstruction-Error") };
    }
    const pages = [];
    const path = `${this.path(strength)}${this.path(strength).includes("?") ? "&" : "?"}report=${isDisplayable || !hasPictures ? "progress" : "pages"}`;
    const onLine = (line) => {
      if (line.page) {
        pages.push({ before: line.before, after: line.after });
        report({ page: pages.at(-1), pageCount: line.pages });
      } else if (line.progress !== undefined) {
        report({ fraction: line.progress, secondsLeft: line.seconds_left });
      }
    };
    const { line, seconds } = await postForLines(path, file, { deadline: this.deadline, signal, onLine });
    if (isDisplayable) pages.push({ before: file, after: line.image });
    return { output: line.image, pages, seconds };
  }

  /** Of a model of one size: a file that browsers cannot show, as PNG. */
  async #fetchPictures({ file }, strength, signal) {
    if (this.path(0) === this.path(1)) return []; // a reconstruction has no strength, and so no picture of the input
    const fetchPicture = async (path) => (await post(path, file, { accept: "image/png", signal })).response.blob();
    return [{ before: await fetchPicture(this.path(0)), after: await fetchPicture(this.path(strength)) }];
  }
}

export class Job {
  /** `path`: of the file in its folder. `onChange(job)` is called whenever the page has to show something else. */
  constructor(file, path, onChange) {
    Object.assign(this, { file, path, onChange, results: new Map(), state: "waiting", error: null, thumbnail: null, pages: [] });
    this.clearProgress();
    this.kind = readKind(file);
  }

  clearProgress() {
    Object.assign(this, { fraction: null, secondsLeft: null, busySeconds: null, pageCount: null });
  }

  /** Whether the browser can show the file, all of it. */
  get isDisplayable() {
    this.displayable ??= this.#tryToShow();
    return this.displayable;
  }

  async #tryToShow() {
    if (["pdf", "tiff"].includes(await this.kind)) return false;
    return this.setThumbnail(this.file);
  }

  /** Draw the thumbnail of a picture; resolves to whether the browser can. */
  async setThumbnail(picture) {
    try {
      const bitmap = await createImageBitmap(picture);
      const scale = Math.min(1, THUMBNAIL / Math.max(bitmap.width, bitmap.height));
      const canvas = document.createElement("canvas");
      canvas.width = Math.max(1, Math.round(bitmap.width * scale));
      canvas.height = Math.max(1, Math.round(bitmap.height * scale));
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      bitmap.close();
      this.thumbnail = canvas;
      this.onChange(this);
      return true;
    } catch {
      return false;
    }
  }

  /** Run the task; results and errors are kept in the job. Resolves when it has ended, in whatever way. */
  async run(task) {
    const controller = (this.controller = new AbortController());
    Object.assign(this, { state: "running", error: null, pages: [] });
    this.clearProgress();
    this.onChange(this);
    try {
      const result = await this.#insist(() => task.process(this, 1, { signal: controller.signal, report: (news) => this.#note(news, controller) }), controller.signal);
      if (controller !== this.controller) return;
      this.results.set(task.key, result);
      this.state = "done";
    } catch (error) {
      if (controller !== this.controller) return;
      this.state = error.name === "AbortError" ? "stopped" : "failed";
      this.error = this.state === "failed" ? await this.#explain(error) : null;
    }
    this.clearProgress();
    this.onChange(this);
  }

  /** End the work, if there is any; what was computed before stays. */
  stop(state = "stopped") {
    this.controller?.abort();
    this.controller = null;
    if (["running", "waiting"].includes(this.state)) this.state = state;
    this.clearProgress();
  }

  #note(news, controller) {
    if (controller !== this.controller) return;
    this.busySeconds = null;
    if (news.page) {
      this.pages.push(news.page);
      this.pageCount = news.pageCount;
      if (!this.thumbnail) this.setThumbnail(news.page.before);
    } else {
      Object.assign(this, { fraction: news.fraction, secondsLeft: news.secondsLeft ?? null });
    }
    this.onChange(this);
  }

  /** Send again while the service is busy, after as long as it says. */
  async #insist(send, signal) {
    for (let waits = 0; ; waits++) {
      try {
        return await send();
      } catch (error) {
        if (!error.isTemporary || waits >= MAX_WAITS) throw error;
        const seconds = Math.max(1, Number(error.facts?.retry_after ?? 2)) * (1 + Math.random() / 2);
        this.busySeconds = Math.ceil(seconds);
        this.pages = [];
        this.onChange(this);
        await pause(seconds, signal);
      }
    }
  }

  /** An error about the file, with a sentence that names its kind. */
  async #explain(error) {
    if (!(error instanceof ServiceError)) return error;
    const kind = await this.kind;
    const suffix = this.file.name.includes(".") ? this.file.name.split(".").pop().toUpperCase() : "";
    let sentence = null;
    if (error.facts.fault === "animated") sentence = t("animated", { kind: suffix });
    else if (error.facts.fault === "damaged") sentence = t("damaged");
    else if (error.facts.fault === "several") sentence = t("several", { kind: suffix });
    else if (error.status === 415 && kind === "heic") sentence = t("heicUnread");
    else if (error.status === 415 && kind === "pdf") sentence = t("pdfUnread");
    else if (error.status === 415 && suffix && !READ_SUFFIXES.test(suffix)) sentence = t("kindUnread", { kind: suffix });
    return sentence ? new ServiceError(sentence, error.status, error.detail, error.facts) : error;
  }

  // --- strength ----------------------------------------------------------------------------------------------

  /** The result of strength 2, computed once; `report` as of Task.process. */
  fetchSecond(task, report = () => {}) {
    const result = this.results.get(task.key);
    result.second ??= task.process(this, 2, { report }).catch((error) => {
      result.second = null;
      throw error;
    });
    return result.second;
  }

  /**
   * The file of a strength, as the service would answer it. Between 0, 1 and 2 the service blends what was computed;
   * it computes anew only PDFs, and what a model of one size makes of small pictures.
   */
  async fetchOutput(task, strength, report) {
    const result = this.results.get(task.key);
    if (strength === 1) return result.output;
    if (strength === 2) return (await this.fetchSecond(task, report)).output;
    if (result.blend?.strength === strength) return result.blend.output;
    const output = await this.#blend(task, result, strength, report);
    result.blend = { strength, output };
    return output;
  }

  async #blend(task, result, strength, report = () => {}) {
    if (!task.answersLines) return (await post(task.path(strength), this.file)).response.blob();
    if ((await this.kind) === "pdf") return (await task.process(this, strength, { report, hasPictures: false })).output;
    const form = new FormData();
    form.append("original", this.file);
    form.append("denoised", result.output);
    if (strength > 1) form.append("denoised_twice", (await this.fetchSecond(task, report)).output);
    return (await post(`v1/blend?strength=${strength}`, form, { deadline: task.deadline })).response.blob();
  }
}

/** The kind of a file by its first bytes, "" for others. */
async function readKind(file) {
  const text = new TextDecoder("latin1").decode(await file.slice(0, 16).arrayBuffer().catch(() => new ArrayBuffer(0)));
  return SIGNATURES.find(([, signature]) => signature.test(text))?.[0] ?? "";
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, 1000 * seconds);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}
