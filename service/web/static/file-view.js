// The view of an image file: sends it and shows input and output under one slider.

import { curlFile, post, ServiceError } from "./api.js";
import { $, createElement } from "./dom.js";
import { t } from "./translations.js";

const EXAMPLES = { pages: "page/example-page.png" }; // by model
const DEFAULT_EXAMPLE = "page/example-photo.jpg";
const SUFFIXES = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/tiff": "tif", "image/avif": "avif" };
const NOT_DISPLAYED = { tif: "image/tiff", tiff: "image/tiff", heic: "image/heic", heif: "image/heic" }; // by browsers
const SMALL_SIDE = 128; // pixels; images up to this size are enlarged

export class FileView {
  /** `showError(error, retry)` and `showCurl(line)` are functions of the page. */
  constructor(showError, showCurl) {
    Object.assign(this, { showError, showCurl, file: null, model: null, objectUrls: [], result: null });
    this.controller = null; // of the request whose result will be shown
    this.strengthController = null; // of the request for the file of another strength
    this.firstOutput = null; // the file of strength 1
    this.secondOutput = null; // a promise of the file of strength 2
    this.pictures = new Map(); // 0, 1, 2 -> object URL of what is shown at that strength
    for (const id of ["file-input", "photo-input", "other-file-input"]) {
      $(id).addEventListener("change", (event) => {
        if (event.target.files[0]) this.openFile(event.target.files[0]);
        event.target.value = ""; // the same file may be selected again
      });
    }
    $("example").addEventListener("click", () => this.#openExample());
    $("cancel").addEventListener("click", () => this.controller?.abort());
    $("compare").addEventListener("input", () => this.#updateComparison());
    $("strength").addEventListener("input", () => this.#updateStrength());
    $("strength").addEventListener("change", () => this.#changeStrength());
    $("keep-figures").addEventListener("change", () => this.file && this.send());
    $("actual-size").addEventListener("change", () => this.#updateZoom());
  }

  /** Another model: the file stays, and is sent to it. */
  setModel(model) {
    this.model = model;
    this.operation = model.operations.includes("denoise") ? "denoise" : "reconstruct";
    $("strength-row").hidden = this.operation !== "denoise";
    $("strength").value = 1;
    $("figures-row").hidden = !model.keeps_figures;
    $("keep-figures").checked = true;
    this.updateText();
    if (this.file) this.send();
    else this.#showDropZone();
  }

  deactivate() {
    this.controller?.abort();
    this.strengthController?.abort();
  }

  openFile(file) {
    if (file.type && !file.type.startsWith("image/")) return this.showError(new ServiceError(t("notImage")));
    const type = file.type || NOT_DISPLAYED[file.name.toLowerCase().split(".").pop()]; // some systems have no media type for it
    this.file = type && !file.type ? new File([file], file.name, { type }) : file;
    this.send();
  }

  updateText() {
    this.#updateComparison();
    this.#updateStrength();
    this.#showFacts();
    if (this.model) this.showCurl(curlFile(this.#operationPath(), this.file?.name ?? "scan.png", this.#outputName(this.file?.type)));
  }

  async send() {
    this.controller?.abort();
    this.strengthController?.abort();
    const controller = (this.controller = new AbortController());
    const { signal } = controller;
    const { file } = this;
    this.showError(null);
    this.result = this.secondOutput = null;
    this.updateText();
    const stopProgress = this.#startProgress();
    try {
      const isDisplayable = !["image/heif", ...Object.values(NOT_DISPLAYED)].includes(file.type);
      const { response, seconds } = await post(this.#operationPath(1), file, { signal });
      const output = await response.blob();
      const after = isDisplayable ? output : await this.#fetchAsPng(file, this.#operationPath(1), signal);
      const before = isDisplayable ? file : await this.#fetchAsPng(file, this.#operationPath(0), signal);
      if (controller !== this.controller) return;
      this.#revokeUrls();
      this.firstOutput = output;
      this.result = { seconds, error: response.headers.get("Reconstruction-Error") };
      await this.#showResult(before, after);
      this.#offerDownload(output);
      this.updateText();
      if (this.#strength() !== 1) this.#changeStrength();
    } catch (error) {
      if (controller !== this.controller) return;
      if (!this.result) this.#showDropZone();
      if (error.name === "AbortError") this.file = null;
      else this.showError(error, error.status === 0 || error.status >= 429 ? () => this.openFile(file) : null);
    } finally {
      stopProgress();
    }
  }

  /** The output as PNG, for a file that browsers cannot show; null if the service has none (several pages). */
  async #fetchAsPng(file, path, signal) {
    try {
      const { response } = await post(path, file, { accept: "image/png", signal });
      return response.blob();
    } catch (error) {
      if (error.status === 406) return null;
      throw error;
    }
  }

  /** After the slider was moved: the file of that strength. The view shows it already (#updateStrength). */
  async #changeStrength() {
    this.strengthController?.abort();
    if (!this.result) return; // `send` goes on with it
    this.updateText();
    const strength = this.#strength();
    const controller = (this.strengthController = new AbortController());
    $("download").setAttribute("aria-disabled", "true");
    $("download").removeAttribute("href");
    try {
      const output = await this.#fetchOutput(strength, controller.signal);
      if (controller === this.strengthController) this.#offerDownload(output);
    } catch (error) {
      if (error.name !== "AbortError" && controller === this.strengthController) this.showError(error, () => this.#changeStrength());
    }
  }

  /** The file of a strength; those of 1 and 2, which other strengths are blends of, are fetched once. */
  async #fetchOutput(strength, signal) {
    if (strength === 2) return this.#fetchSecondOutput();
    if (strength === 1) return this.firstOutput;
    const { response } = await post(this.#operationPath(strength), this.file, { signal });
    return response.blob();
  }

  #fetchSecondOutput() {
    this.secondOutput ??= post(this.#operationPath(2), this.file).then(({ response }) => response.blob());
    return this.secondOutput;
  }

  #offerDownload(output) {
    $("download").href = this.#createUrl(output);
    $("download").download = this.#outputName(output.type);
    $("download").removeAttribute("aria-disabled");
  }

  async #showResult(before, after) {
    $("drop").hidden = true;
    $("result").hidden = false;
    $("frame").hidden = after === null || before === null;
    $("no-preview").hidden = !$("frame").hidden;
    if ($("frame").hidden) return;
    this.pictures.set(0, this.#createUrl(await this.#fitToModel(before))).set(1, this.#createUrl(after));
    this.#updateBlend();
    $("before").src = this.pictures.get(0);
    await Promise.all([$("after").decode(), $("before").decode()]);
    const { naturalWidth: width, naturalHeight: height } = $("after");
    Object.assign(this.result, { width, height });
    this.#resizeFrame($("after"));
    $("compare").value = 50;
    this.#updateComparison();
  }

  /** For a model of one size: the image as the service fits it, so that input and output cover each other. */
  async #fitToModel(before) {
    const [height, width] = this.model.ports.image.shape.slice(1, 3);
    if (typeof height !== "number") return before;
    const bitmap = await createImageBitmap(before);
    const [x, y] = [width / bitmap.width, height / bitmap.height];
    const fit = this.model.fit ?? "contain";
    const scale = fit === "cover" ? Math.max(x, y) : Math.min(x, y);
    const canvas = new OffscreenCanvas(width, height);
    const [w, h] = fit === "stretch" ? [width, height] : [bitmap.width * scale, bitmap.height * scale];
    canvas.getContext("2d").drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
    return canvas.convertToBlob();
  }

  #strength() {
    return this.operation === "denoise" ? Number($("strength").value) : 1;
  }

  #operationPath(strength = this.#strength()) {
    const [height] = this.model.ports.image.shape.slice(1, 3);
    const query = new URLSearchParams();
    if (typeof height === "number") query.set("fit", this.model.fit ?? "contain");
    if (this.operation === "denoise" && strength !== 1) query.set("strength", strength);
    if (this.model.keeps_figures && !$("keep-figures").checked) query.set("figures", "clean");
    return `v1/models/${this.model.name}/${this.operation}${query.size ? `?${query}` : ""}`;
  }

  #outputName(type) {
    const name = this.file?.name ?? "scan.png";
    const stem = name.replace(/\.[^.]*$/, "") || "image";
    const suffix = SUFFIXES[type] ?? "png";
    return `${stem}-${this.model.name}.${suffix}`;
  }

  async #openExample() {
    const path = EXAMPLES[this.model.name] ?? DEFAULT_EXAMPLE;
    try {
      const blob = await (await fetch(new URL(path, document.baseURI))).blob();
      this.openFile(new File([blob], path.split("/").pop(), { type: blob.type }));
    } catch {
      this.showError(new ServiceError(t("unreachable")), () => this.#openExample());
    }
  }

  #showDropZone() {
    $("drop").hidden = false;
    $("result").hidden = true;
  }

  /** Shows the input and a clock until the returned function is called. */
  #startProgress() {
    const start = performance.now();
    const tick = () => ($("progress-text").textContent = t("working", { s: ((performance.now() - start) / 1000).toFixed(1) }));
    if ($("result").hidden) {
      const url = this.#createUrl(this.file);
      for (const id of ["before", "after", "base"]) $(id).src = url;
      $("before").decode().then(() => this.#resizeFrame($("before")), () => {}); // not shown if the browser cannot
      $("frame").hidden = false;
      $("no-preview").hidden = true;
      $("result").hidden = false;
      $("drop").hidden = true;
    }
    tick();
    $("result").classList.add("is-working");
    $("progress").hidden = false;
    $("download").setAttribute("aria-disabled", "true");
    $("download").removeAttribute("href");
    const timer = setInterval(tick, 100);
    const { controller } = this;
    return () => {
      clearInterval(timer);
      if (controller !== this.controller) return; // another request is running
      $("result").classList.remove("is-working");
      $("progress").hidden = true;
    };
  }

  /** Give the frame the image's shape: enlarged if it is small, never larger than the window. */
  #resizeFrame({ naturalWidth: width, naturalHeight: height }) {
    $("frame").style.setProperty("--natural", `${width}px`);
    $("frame").style.setProperty("--ratio", width / height);
    $("frame").classList.toggle("small-picture", width <= SMALL_SIDE && height <= SMALL_SIDE);
  }

  #updateComparison() {
    const percent = $("compare").value;
    $("frame").style.setProperty("--at", `${percent}%`);
    $("compare").setAttribute("aria-valuetext", t("compareValue", { n: Math.round(percent) }));
  }

  #updateStrength() {
    $("strength-value").textContent = `${Math.round(100 * $("strength").value)}%`;
    if (this.result) this.#updateBlend();
  }

  /**
   * Shows any strength at once: between 0 and 1 it is a blend of the input and the output, between 1 and 2 one of the
   * output and of that output denoised again, as the service computes it.
   */
  async #updateBlend() {
    const strength = this.#strength();
    const { pictures } = this;
    if (strength > 1 && !pictures.has(2)) await this.#addSecondPass(pictures);
    if (pictures !== this.pictures || strength !== this.#strength()) return; // moved on meanwhile
    const [low, high] = strength <= 1 ? [0, 1] : [1, 2];
    for (const [id, key] of [["base", low], ["after", high]]) {
      const url = pictures.get(key) ?? pictures.get(1);
      if (url && $(id).src !== url) $(id).src = url;
    }
    $("after").style.opacity = strength - low;
  }

  /** Adds the picture of strength 2; without it strengths above 1 show that of 1, and the error is told. */
  async #addSecondPass(pictures) {
    const { file } = this;
    $("strength-value").textContent += " …";
    try {
      const isDisplayable = file.type !== "image/tiff";
      const picture = await (isDisplayable ? this.#fetchSecondOutput() : this.#fetchAsPng(file, this.#operationPath(2)));
      if (picture && pictures === this.pictures && !pictures.has(2)) pictures.set(2, this.#createUrl(picture));
    } catch (error) {
      if (pictures !== this.pictures) return;
      this.secondOutput = null;
      this.showError(error);
    }
    $("strength-value").textContent = `${Math.round(100 * $("strength").value)}%`;
  }

  #updateZoom() {
    document.querySelector(".view").classList.toggle("actual-size", $("actual-size").checked);
  }

  #showFacts() {
    const facts = [];
    if (this.file) facts.push([t("file"), this.file.name]);
    if (this.result?.width) facts.push([t("size"), t("pixels", { w: this.result.width, h: this.result.height })]);
    facts.push([t("time"), this.result ? t("seconds", { s: this.result.seconds.toPrecision(2) }) : "–"]);
    if (this.result?.error) facts.push([t("error"), this.result.error]);
    $("file-facts").replaceChildren(
      ...facts.flatMap(([term, value]) => [createElement("dt", {}, term), createElement("dd", {}, value)]));
  }

  #createUrl(blob) {
    this.objectUrls.push(URL.createObjectURL(blob));
    return this.objectUrls.at(-1);
  }

  #revokeUrls() {
    this.objectUrls.splice(0).forEach((url) => URL.revokeObjectURL(url));
    this.firstOutput = this.secondOutput = null;
    this.pictures = new Map();
  }
}
