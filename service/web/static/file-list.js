// The list of files: a row for each job with thumbnail, state and buttons, and what is done with all of them.

import { downloadZip } from "./client-zip.js";
import { $, createElement } from "./dom.js";
import { t } from "./translations.js";

const ANNOUNCEMENT = 4000; // milliseconds between two announcements of the number of files that are done

export class FileList {
  /**
   * `actions`: select(job), retry(jobs), stop(jobs), remove(jobs), download(job), and fetchFile(job) -> {name, blob},
   * the file as it would be downloaded.
   */
  constructor(actions) {
    Object.assign(this, { actions, jobs: [], current: null, rows: new Map(), zipProgress: null, announced: "" });
    $("files-zip").addEventListener("click", () => this.#downloadAll());
    $("files-retry").addEventListener("click", () => actions.retry(this.#unfinished));
    $("files-stop").addEventListener("click", () => actions.stop(this.jobs.filter(isBusy)));
    $("files-clear").addEventListener("click", () => actions.remove([...this.jobs]));
    setInterval(() => this.#announce(), ANNOUNCEMENT);
  }

  get #unfinished() {
    return this.jobs.filter(({ state }) => ["idle", "failed", "stopped"].includes(state));
  }

  /** Show the jobs, in their order; a single one needs no list. */
  show(jobs, current) {
    Object.assign(this, { jobs, current });
    $("files").hidden = jobs.length < 2;
    for (const [job, row] of this.rows) {
      if (jobs.includes(job)) continue;
      row.element.remove();
      this.rows.delete(job);
    }
    for (const job of jobs) {
      if (!this.rows.has(job)) {
        this.rows.set(job, this.#createRow(job));
        $("file-list").append(this.rows.get(job).element);
      }
      this.#updateRow(job);
    }
    this.#updateHead();
  }

  /** One job has changed. */
  update(job) {
    if (!this.rows.has(job)) return;
    this.#updateRow(job);
    this.#updateHead();
  }

  updateText() {
    this.jobs.forEach((job) => this.#updateRow(job));
    this.#updateHead();
  }

  #createRow(job) {
    const thumbnail = createElement("span", { className: "file-thumbnail" });
    const state = createElement("span", { className: "file-state" });
    const progress = createElement("progress", { max: 1 });
    const select = createElement("button", { type: "button", className: "file-select" },
      thumbnail, createElement("span", { className: "file-text" }, createElement("span", { className: "file-name" }, job.path), state, progress));
    const button = (action) => {
      const element = createElement("button", { type: "button", className: "button small-button" });
      element.addEventListener("click", action);
      return element;
    };
    const retry = button(() => this.actions.retry([job]));
    const download = button(() => this.actions.download(job));
    const remove = button(() => (isBusy(job) ? this.actions.stop([job]) : this.actions.remove([job])));
    select.addEventListener("click", () => this.actions.select(job));
    const element = createElement("li", { className: "file" }, select, createElement("span", { className: "row file-buttons" }, retry, download, remove));
    return { element, select, thumbnail, state, progress, retry, download, remove };
  }

  #updateRow(job) {
    const row = this.rows.get(job);
    if (job.thumbnail && row.thumbnail.firstChild !== job.thumbnail) row.thumbnail.replaceChildren(job.thumbnail);
    row.element.className = `file is-${job.state}`;
    row.select.setAttribute("aria-current", String(job === this.current));
    row.state.textContent = describeState(job);
    row.progress.hidden = job.state !== "running";
    if (job.fraction === null) row.progress.removeAttribute("value");
    else row.progress.value = job.fraction;
    row.progress.setAttribute("aria-label", t("progressOf", { name: job.path }));
    const name = (element, key) => {
      element.textContent = t(key);
      element.setAttribute("aria-label", `${t(key)}: ${job.path}`);
    };
    row.retry.hidden = !["idle", "failed", "stopped"].includes(job.state);
    name(row.retry, job.state === "idle" ? "process" : "retry");
    row.download.hidden = job.state !== "done";
    name(row.download, "download");
    name(row.remove, isBusy(job) ? "cancel" : "remove");
  }

  #updateHead() {
    const count = (state) => this.jobs.filter((job) => job.state === state).length;
    const [done, failed] = [count("done"), count("failed")];
    const parts = [t("filesDone", { done, n: this.jobs.length }), ...(failed ? [t("filesFailed", { n: failed })] : [])];
    $("files-count").textContent = parts.join(", ");
    $("files-zip").disabled = !done || this.zipProgress !== null;
    $("files-zip").textContent = this.zipProgress ?? t("downloadAll", { n: done });
    $("files-retry").hidden = !this.#unfinished.length;
    $("files-retry").textContent = t("processRest", { n: this.#unfinished.length });
    $("files-stop").hidden = !this.jobs.some(isBusy);
  }

  #announce() {
    const text = this.jobs.length > 1 ? $("files-count").textContent : "";
    if (text === this.announced) return;
    this.announced = text;
    $("files-status").textContent = text;
  }

  /** A zip of all results: not compressed, since pictures are. A file that cannot be made is left out, and named. */
  async #downloadAll() {
    const jobs = this.jobs.filter(({ state }) => state === "done");
    const { fetchFile, save, fail } = this.actions;
    const names = new Set();
    const errors = [];
    const setProgress = (text) => {
      this.zipProgress = text;
      this.#updateHead();
    };
    async function* makeFiles() {
      for (const [index, job] of jobs.entries()) {
        setProgress(t("zipping", { done: index, n: jobs.length }));
        try {
          const { name, blob } = await fetchFile(job);
          yield { name: makeUnique(name, names), lastModified: new Date(), input: blob };
        } catch (error) {
          errors.push(error);
        }
      }
    }
    const response = downloadZip(makeFiles());
    const zip = await response.blob();
    setProgress(null);
    if (errors.length < jobs.length) save(zip, "denoised.zip");
    if (errors.length) fail(errors[0], errors.length);
  }
}

const isBusy = ({ state }) => state === "waiting" || state === "running";

/** A state in a few words; an error by its sentence. */
export function describeState(job) {
  if (job.state === "failed") return job.error.sentence || job.error.detail || job.error.message;
  if (job.state !== "running") return t(`state-${job.state}`);
  if (job.busySeconds !== null) return t("busy", { s: job.busySeconds });
  return describeProgress(job);
}

/** "42%, about 12 s left"; what is known of it. */
export function describeProgress({ fraction, secondsLeft, pageCount, pages }) {
  if (fraction === null) return t("sending");
  if (fraction >= 1) return t("finishing");
  const parts = [t("percent", { n: Math.floor(100 * fraction) })];
  if (pageCount > 1) parts.push(t("pagesReady", { done: pages.length, n: pageCount }));
  if (secondsLeft !== null) parts.push(describeTime(secondsLeft));
  return parts.join(" · ");
}

function describeTime(seconds) {
  return seconds < 90 ? t("secondsLeft", { s: Math.max(1, Math.ceil(seconds)) }) : t("minutesLeft", { n: Math.ceil(seconds / 60) });
}

/** "a.png", "a (2).png", ...: two files may have one name, and zips hold each name once. */
function makeUnique(name, names) {
  const [stem, suffix] = [name.replace(/\.[^./]*$/, ""), name.match(/\.[^./]*$/)?.[0] ?? ""];
  let unique = name;
  for (let n = 2; names.has(unique.toLowerCase()); n++) unique = `${stem} (${n})${suffix}`;
  names.add(unique.toLowerCase());
  return unique;
}
