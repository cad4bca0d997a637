// The view of image files: sends them, shows each before and after, and offers the results.
//
// files -> jobs -> a few at a time: Task -> results        the selected job -> comparison, facts, download

import { curlFile, getJson, ServiceError } from "./api.js";
import { Comparison } from "./comparison.js";
import { $, createElement } from "./dom.js";
import { readChosenFiles } from "./dropped-files.js";
import { loadExampleFile } from "./examples.js";
import { describeProgress, describeState, FileList } from "./file-list.js";
import { Job, Task } from "./job.js";
import { fitImage } from "./pixels.js";
import { t } from "./translations.js";

const EXAMPLES = { pages: "page/example-page.png" }; // by model
const DEFAULT_EXAMPLE = "page/example-photo.jpg";
const SUFFIXES = {
  "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/tiff": "tif", "image/avif": "avif", "application/pdf": "pdf",
};
const FORMATS = { // names of those that the service may read, some with an extra
  "image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WebP", "image/tiff": "TIFF", "application/pdf": "PDF", "image/avif": "AVIF",
  "image/heic": "HEIC", "image/gif": "GIF", "image/bmp": "BMP",
};
const MAX_RUNNING = 2; // jobs: while one is computed, the next is sent

export class FileView {
  /** `showError(error, retry)` and `showCurl(line)` are functions of the page. */
  constructor(showError, showCurl) {
    Object.assign(this, { showError, showCurl, model: null, jobs: [], current: null, displayed: null, pageNumber: 1, isPaused: false });
    this.comparison = new Comparison();
    this.list = new FileList({
      select: (job) => this.#select(job),
      retry: (jobs) => this.#restart(jobs),
      stop: (jobs) => this.#stop(jobs),
      remove: (jobs) => this.#remove(jobs),
      download: (job) => this.#download(job),
      fetchFile: async (job) => ({ name: this.#outputName(job, true), blob: await this.#fetchOutput(job) }),
      save,
      fail: (error, n) => this.showError(n > 1 ? new ServiceError(t("zipLeftOut", { n }), error.status, error.detail) : error),
    });
    for (const id of ["file-input", "folder-input", "photo-input", "other-file-input", "more-files-input"]) {
      $(id).addEventListener("change", (event) => {
        this.openFiles(readChosenFiles(event.target.files));
        event.target.value = ""; // the same file may be selected again
      });
    }
    $("example").addEventListener("click", () => this.#openExample());
    $("cancel").addEventListener("click", () => this.current && this.#stop([this.current]));
    $("download").addEventListener("click", () => this.#download(this.current));
    $("strength").addEventListener("input", () => this.#updateStrength());
    $("strength").addEventListener("change", () => this.updateText());
    $("keep-figures").addEventListener("change", () => this.#changeTask());
    $("page-previous").addEventListener("click", () => this.#showPage(this.pageNumber - 1));
    $("page-next").addEventListener("click", () => this.#showPage(this.pageNumber + 1));
  }

  /** Another model: the files stay, and the selected one is sent to it. */
  async setModel(model) {
    this.model = model;
    this.operation = model.operations.includes("denoise") ? "denoise" : "reconstruct";
    $("strength-row").hidden = this.operation !== "denoise";
    $("strength").value = 1;
    $("figures-row").hidden = !model.keeps_figures;
    $("keep-figures").checked = true;
    this.#updateStrength();
    this.updateText();
    await this.#changeTask();
  }

  deactivate() {
    for (const job of this.jobs) job.stop("idle");
    this.list.updateText();
  }

  /** [{file, path}] are added to the list, and the first of them is shown. */
  async openFiles(files) {
    if (!files.length) return;
    this.showError(null);
    const isImage = ({ type }) => !type || type.startsWith("image/") || type === "application/pdf" || type === "application/octet-stream";
    if (files.length === 1 && !isImage(files[0].file)) return this.showError(new ServiceError(t("notImage")));
    const jobs = files.map(({ file, path }) => new Job(file, path, (job) => this.#onJobChange(job)));
    for (const job of jobs) if (!isImage(job.file)) Object.assign(job, { state: "failed", error: new ServiceError(t("notImage")) });
    this.jobs.push(...jobs);
    this.isPaused = false;
    this.#select(jobs.find(({ state }) => state === "waiting") ?? jobs[0]);
    this.#startJobs();
    for (const job of jobs) await job.isDisplayable; // one after the other: each thumbnail decodes a whole picture
  }

  updateText() {
    this.comparison.updateText();
    this.list.updateText();
    $("strength-value").textContent = t("percent", { n: Math.round(100 * $("strength").value) });
    this.#updateState();
    if (!this.model) return;
    const name = this.current?.file.name ?? "scan.png";
    this.showCurl(curlFile(this.#operationPath(), name, this.current ? this.#outputName(this.current) : `scan-${this.model.name}.png`));
    this.#showFormats();
  }

  async #showFormats() {
    const { media_types: types = [] } = await this.#fetchLimits();
    const names = types.map((type) => FORMATS[type]).filter(Boolean).join(", ");
    $("drop-hint").textContent = names ? t("dropHint", { formats: names }) : "";
  }

  /** The service's limits; nothing while it does not tell them, and then its own deadline holds. */
  async #fetchLimits() {
    this.limits ??= getJson("v1/limits").catch(() => (this.limits = null));
    return (await this.limits) ?? {};
  }

  // --- the work ----------------------------------------------------------------------------------------------

  /** The task that the choices on the page describe. */
  async #createTask() {
    const [height] = this.model.ports.image.shape.slice(1, 3);
    const { max_deadline: deadline } = await this.#fetchLimits();
    const path = (strength) => this.#operationPath(strength);
    const answersLines = this.operation === "denoise" && typeof height !== "number";
    return new Task({ key: path(1), path, answersLines, deadline, fitBefore: (before) => this.#fitToModel(before) });
  }

  /** Another model or another choice: what was computed for it is shown, and else the selected file is sent. */
  async #changeTask() {
    const pending = this.jobs.filter(({ state }) => state === "waiting" || state === "running");
    for (const job of this.jobs) job.stop();
    const task = await this.#createTask();
    this.task = task;
    for (const job of this.jobs) {
      job.pages = []; // those of the other task
      const isWanted = pending.includes(job) || job === this.current;
      const hasFailed = job.state === "failed" && !job.results.size && job !== this.current;
      if (job.results.has(task.key)) job.state = "done";
      else if (!hasFailed) job.state = isWanted ? "waiting" : "idle";
    }
    this.isPaused = false;
    this.#showCurrent();
    this.#startJobs();
  }

  async #startJobs() {
    this.task ??= await this.#createTask();
    while (!this.isPaused && this.jobs.filter(({ state }) => state === "running").length < MAX_RUNNING) {
      const isNext = ({ state }) => state === "waiting";
      const job = isNext(this.current ?? {}) ? this.current : this.jobs.find(isNext);
      if (!job) return;
      this.#run(job, this.task);
    }
  }

  async #run(job, task) {
    await job.run(task);
    if (job.state === "done") $("announcement").textContent = `${job.path}: ${t("state-done")}`;
    if (job.state === "failed" && (job.error.status === 0 || job.error.status === 401)) this.#pause(); // so would the others
    if (job.state === "failed" && job === this.current) this.#showFailure(job, task);
    this.#startJobs();
  }

  #pause() {
    this.isPaused = true;
    for (const job of this.jobs) if (job.state === "waiting") job.state = "idle";
  }

  /** Tell the error of the selected job; the button sends it again, and the others that did not come to their turn. */
  #tellError(job) {
    const isLeft = (other) => other === job || (this.isPaused && (other.state === "idle" || (other.state === "failed" && isWorthAnotherTry(other.error))));
    this.showError(job.error, isWorthAnotherTry(job.error) ? () => this.#restart(this.jobs.filter(isLeft)) : null);
  }

  #showFailure(job, task) {
    this.#tellError(job);
    if (!this.#isEarlierShown(job, task)) return;
    const { error } = job;
    this.#restoreChoices(job);
    this.showError(error, isWorthAnotherTry(error) ? () => {
      this.showError(null);
      $("keep-figures").checked = !isWithoutFigures(task.key);
      this.#changeTask();
    } : null);
  }

  /** Whether the result of other choices is shown, of this model. */
  #isEarlierShown(job, task) {
    return this.displayed?.job === job && Boolean(this.displayed.key) && this.displayed.key !== task?.key && this.#isOfModel(this.displayed.key);
  }

  #isOfModel(key) {
    return key.startsWith(`v1/models/${this.model.name}/`);
  }

  /** After a failure or a stop the result of before stays, and with it the choices that made it. */
  async #restoreChoices(job) {
    $("keep-figures").checked = !isWithoutFigures(this.displayed.key);
    this.task = await this.#createTask();
    if (job.results.has(this.task.key)) Object.assign(job, { state: "done", error: null });
    this.list.updateText();
    this.updateText();
  }

  #restart(jobs) {
    this.showError(null);
    this.isPaused = false;
    for (const job of jobs) Object.assign(job, { state: "waiting", error: null });
    this.#showCurrent();
    this.#startJobs();
  }

  #stop(jobs) {
    for (const job of jobs) {
      job.stop();
      if (this.#isEarlierShown(job, this.task)) this.#restoreChoices(job);
    }
    this.#showCurrent();
    this.#startJobs();
  }

  #remove(jobs) {
    for (const job of jobs) job.stop();
    const place = this.jobs.indexOf(this.current);
    this.jobs = this.jobs.filter((job) => !jobs.includes(job));
    this.showError(null);
    if (!this.jobs.includes(this.current)) this.#select(this.jobs[Math.min(place, this.jobs.length - 1)] ?? null);
    else this.#showCurrent();
    if (!this.jobs.length) $("example").focus();
  }

  #onJobChange(job) {
    this.list.update(job);
    if (job === this.current) this.#showCurrent();
  }

  // --- what is shown -----------------------------------------------------------------------------------------

  #select(job) {
    if (job !== this.current) this.pageNumber = 1;
    this.current = job;
    if (job?.state === "failed") this.#tellError(job);
    else this.showError(null);
    this.#showCurrent();
    this.updateText();
  }

  #showCurrent() {
    const job = this.current;
    this.list.show(this.jobs, job);
    $("drop").hidden = job !== null;
    $("result").hidden = job === null;
    if (!job) return;
    this.#showPictures(job);
    this.#updateState();
  }

  /** The pages of the job's result; while there is none those that are ready, or the file; else the result of before. */
  async #showPictures(job) {
    const result = job.results.get(this.task?.key);
    const hasEarlier = this.#isEarlierShown(job, this.task);
    if (!result && hasEarlier) return;
    let pages = result?.pages ?? job.pages;
    const isFinal = pages.length > 0;
    if (!pages.length && !result && (await job.isDisplayable)) pages = [{ before: job.file }];
    if (job !== this.current) return;
    this.pageNumber = Math.min(this.pageNumber, Math.max(1, pages.length));
    const page = pages[this.pageNumber - 1] ?? null;
    const second = result && (await settled(result.second))?.pages[this.pageNumber - 1]?.after;
    if (job !== this.current) return;
    this.#updatePager(pages.length, Math.max(pages.length, job.pageCount ?? 0));
    const isSame = this.displayed?.job === job && this.displayed.pageNumber === this.pageNumber;
    const isShownAlready = isSame && this.displayed.page === page?.before && this.displayed.after === page?.after && this.displayed.second === second;
    this.displayed = { job, key: result || isFinal ? this.task?.key : null, page: page?.before, after: page?.after, second, pageNumber: this.pageNumber };
    if (page && !isShownAlready) {
      if (page.after && !(isSame && this.hadAfter)) this.comparison.centreDivider();
      this.hadAfter = Boolean(page.after);
      const isShown = await this.comparison.show({ ...page, second }, { isSame });
      $("no-preview").hidden = isShown;
    } else if (!page) {
      $("frame").hidden = $("viewer-bar").hidden = true;
      $("no-preview").hidden = false;
    }
    $("no-preview").textContent = !result && job.state === "failed" ? describeState(job) : t(result ? "noPreview" : "noPreviewYet");
    this.#showFacts();
    if (result && this.#strength() > 1) this.#updateStrength();
  }

  #showPage(number) {
    this.pageNumber = number;
    this.#showCurrent();
  }

  #updatePager(ready, total) {
    $("pager").hidden = total < 2;
    $("page-number").textContent = t("pageOf", { page: this.pageNumber, n: total });
    $("page-previous").disabled = this.pageNumber <= 1;
    $("page-next").disabled = this.pageNumber >= ready;
  }

  /** Progress, facts and the button of the selected job. */
  #updateState() {
    const job = this.current;
    if (!job) return;
    const isBusy = job.state === "running" || job.state === "waiting";
    const result = job.results.get(this.task?.key);
    $("progress").hidden = !isBusy;
    $("progress-text").textContent = isBusy ? describeState(job) : "";
    if (job.fraction === null) $("progress-bar").removeAttribute("value");
    else $("progress-bar").value = job.fraction;
    $("result").classList.toggle("is-working", isBusy);
    $("download").disabled = !result || this.isPreparing;
    $("download").textContent = this.isPreparing ?? t("download");
    this.#showFacts();
  }

  #showFacts() {
    const job = this.current;
    const result = job?.results.get(this.task?.key);
    const facts = [];
    if (job) facts.push([t("file"), job.path]);
    if (job && this.displayed?.job === job && !$("frame").hidden) facts.push([t("size"), t("pixels", { w: this.comparison.width, h: this.comparison.height })]);
    facts.push([t("time"), result ? t("seconds", { s: result.seconds.toPrecision(2) }) : "–"]);
    if (result?.error) facts.push([t("error"), result.error]);
    $("file-facts").replaceChildren(
      ...facts.flatMap(([term, value]) => [createElement("dt", {}, term), createElement("dd", {}, value)]));
  }

  // --- strength and download ---------------------------------------------------------------------------------

  #strength() {
    return this.operation === "denoise" ? Number($("strength").value) : 1;
  }

  /** Shows any strength at once; that of 2, of which those above 1 are blends, is computed once for each file. */
  async #updateStrength() {
    const strength = this.#strength();
    const setText = (text) => ($("strength-value").textContent = [t("percent", { n: Math.round(100 * strength) }), text].filter(Boolean).join(" · "));
    this.comparison.setStrength(strength);
    setText("");
    const { current: job, task } = this;
    const result = job?.results.get(task?.key);
    if (strength <= 1 || !result?.pages.length || (this.displayed?.job === job && this.displayed.second)) return;
    setText("…");
    try {
      await job.fetchSecond(task, ({ fraction }) => fraction && this.#strength() > 1 && setText(t("percent", { n: Math.floor(100 * fraction) })));
      if (job === this.current) this.#showPictures(job);
    } catch (error) {
      if (job === this.current && error.name !== "AbortError") this.showError(error, () => this.#updateStrength());
    }
    $("strength-value").textContent = t("percent", { n: Math.round(100 * $("strength").value) });
  }

  #fetchOutput(job, report) {
    return job.fetchOutput(this.task, this.#strength(), report);
  }

  /** Save the result as it is shown: with the strength of the slider, in the service's format and depth. */
  async #download(job) {
    if (!job?.results.has(this.task.key) || this.isPreparing) return;
    const name = this.#outputName(job);
    const report = (news) => {
      if (news.fraction === undefined) return;
      this.isPreparing = t("preparing", { progress: describeProgress({ ...news, secondsLeft: news.secondsLeft ?? null }) });
      this.#updateState();
    };
    try {
      this.isPreparing = t("preparing", { progress: "…" });
      this.#updateState();
      save(await this.#fetchOutput(job, report), name);
    } catch (error) {
      this.showError(error, () => {
        this.showError(null);
        this.#download(job);
      });
    } finally {
      this.isPreparing = null;
      this.#updateState();
    }
  }

  // --- files and addresses -----------------------------------------------------------------------------------

  /** For a model of one size: the image as the service fits it, so that input and output cover each other. */
  async #fitToModel(before) {
    const [height, width] = this.model.ports.image.shape.slice(1, 3);
    if (typeof height !== "number") return before;
    return fitImage(await createImageBitmap(before), height, width, this.model.fit ?? "contain");
  }

  #operationPath(strength = this.#strength()) {
    const [height] = this.model.ports.image.shape.slice(1, 3);
    const query = new URLSearchParams();
    if (typeof height === "number") query.set("fit", this.model.fit ?? "contain");
    if (this.operation === "denoise" && strength !== 1) query.set("strength", strength);
    if (this.model.keeps_figures && !$("keep-figures").checked) query.set("figures", "clean");
    return `v1/models/${this.model.name}/${this.operation}${query.size ? `?${query}` : ""}`;
  }

  /** The name of a result, with its folders if `hasFolders`. */
  #outputName(job, hasFolders = false) {
    const path = hasFolders ? job.path : job.file.name;
    const stem = path.replace(/\.[^./]*$/, "") || "image";
    const type = job.results.get(this.task?.key)?.output.type ?? job.file.type;
    return `${stem}-${this.model.name}.${SUFFIXES[type] ?? "png"}`;
  }

  async #openExample() {
    const { model } = this;
    const own = await loadExampleFile(model);
    if (this.model !== model) return;
    if (own) return void this.openFiles([{ file: own, path: own.name }]);
    const path = EXAMPLES[this.model.name] ?? DEFAULT_EXAMPLE;
    try {
      const blob = await (await fetch(new URL(path, document.baseURI))).blob();
      const file = new File([blob], path.split("/").pop(), { type: blob.type });
      this.openFiles([{ file, path: file.name }]);
    } catch {
      this.showError(new ServiceError(t("unreachable")), () => this.#openExample());
    }
  }
}

/** Whether the same file may be taken the next time: the service was busy, slow, gone, or wants a key. */
const isWorthAnotherTry = (error) => !(error instanceof ServiceError) || error.status === 0 || error.status === 401 || error.status >= 429;

const isWithoutFigures = (key) => key.includes("figures=clean");

/** The value of a promise that is fulfilled, undefined of others. */
const settled = (promise) => Promise.race([promise?.catch(() => undefined), new Promise((resolve) => setTimeout(resolve))]);

/** Let the browser save a Blob as a file. */
function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = createElement("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // browsers read it after the click
}
