// The view of rows of numbers: a table that was dropped or pasted, each row's reconstruction, and its latent as bars.

import { curlJson, curlTable, latestOnly, post, ServiceError } from "./api.js";
import { $, createElement } from "./dom.js";
import { loadExamples } from "./examples.js";
import { LatentSliders } from "./latent-sliders.js";
import { drawRow } from "./row-chart.js";
import { t } from "./translations.js";

const MAX_ROWS = 200; // that are listed; the answer of the command line has all
const MAX_SLIDERS = 64;
const MAX_DIFFERENT = 8; // columns that are named
const MAX_CARRIED = 3; // columns of text beside each row
const FALSE_ALARM_RATE = 0.05;
const SUFFIXES = { csv: "text/csv", tsv: "text/csv", txt: "text/csv", parquet: "application/vnd.apache.parquet", pq: "application/vnd.apache.parquet" };

export class VectorView {
  /** `showError(error, retry)` and `showCurl(line)` are functions of the page. */
  constructor(showError, showCurl) {
    Object.assign(this, { showError, showCurl, model: null, table: null, row: 0, decoded: null });
    this.runLatest = latestOnly((error) => showError(error));
    this.sliders = new LatentSliders($("row-sliders"), (values) => this.#decode(values));
    for (const id of ["table-input", "other-table-input"]) {
      $(id).addEventListener("change", (event) => {
        if (event.target.files[0]) this.openFile(event.target.files[0]);
        event.target.value = "";
      });
    }
    $("table-example").addEventListener("click", () => this.#openExample());
    $("reset-row").addEventListener("click", () => this.#showRow());
  }

  setModel(model) {
    Object.assign(this, { model, table: null, row: 0 });
    this.size = model.ports.vector.shape[1];
    this.columns = model.columns;
    this.isUsable = model.operations.includes("reconstruct");
    const latentSize = model.ports.latent?.shape.length === 2 ? model.ports.latent.shape[1] : Infinity;
    this.hasSliders = latentSize <= MAX_SLIDERS && ["encode", "decode"].every((name) => model.operations.includes(name));
    $("row-latent").hidden = !this.hasSliders;
    if (this.hasSliders) this.sliders.reset(latentSize);
    $("table-drop").hidden = !this.isUsable;
    $("table-result").hidden = true;
    $("table-example").hidden = !this.columns && !model.examples;
    this.updateText();
    this.#showCurlOfModel();
    if (this.isUsable && model.examples) this.#openExample();
  }

  deactivate() {
    this.model = null;
  }

  openFile(file) {
    const type = SUFFIXES[file.name.split(".").pop().toLowerCase()];
    if (!type) return this.showError(new ServiceError(t("notTable")));
    return this.#process(new Blob([file], { type }), file.name);
  }

  openText(text, name = "table.csv") {
    return this.#process(new Blob([text], { type: "text/csv" }), name);
  }

  updateText() {
    if (!this.model) return;
    const names = this.columns?.map(({ name }) => name).filter(Boolean) ?? [];
    const listed = names.length === this.size ? names.slice(0, 6).join(", ") + (names.length > 6 ? ", …" : "") : "";
    $("table-columns").textContent = listed ? t("tableColumns", { n: this.size, names: listed }) : t("tableNumbers", { n: this.size });
    $("row-latent-title").textContent = t("numbers", { n: this.sliders.values.length });
    $("vector-hint").textContent = this.isUsable ? "" : t("vector", { n: this.size });
    $("vector-hint").hidden = this.isUsable;
    this.sliders.updateLabels();
    if (!this.table) return;
    this.#showRows();
    this.#showDifferences(this.decoded ?? this.table.outputs[this.row]);
  }

  #process(blob, name) {
    const { model } = this;
    if (!model || !this.isUsable) return undefined;
    return this.runLatest(async () => {
      const path = `v1/models/${model.name}`;
      const rate = model.score?.samples >= 1 / FALSE_ALARM_RATE ? `?false_alarm_rate=${FALSE_ALARM_RATE}` : "";
      const options = { accept: "application/json" };
      const [reconstruction, encoding] = await Promise.all([
        post(`${path}/reconstruct${rate}`, blob, options),
        this.hasSliders ? post(`${path}/encode`, blob, options) : null,
      ]);
      const table = await reconstruction.response.json();
      table.latents = encoding && (await encoding.response.json()).latents;
      if (this.model !== model) return;
      Object.assign(this, { table, row: indexOfLargest(table.reconstruction_error) });
      $("table-drop").hidden = true;
      $("table-result").hidden = false;
      this.showError(null);
      this.showCurl(curlTable(`${path}/reconstruct`, name, blob.type));
      this.#showRows();
      this.#showRow();
    });
  }

  /** The list of rows: what was carried along, error, percentile. */
  #showRows() {
    const { table } = this;
    const carried = Object.keys(table.carried).slice(0, MAX_CARRIED);
    const head = createElement("tr", {}, ...[t("row"), ...carried, t("errorSmaller"), t("percentileOf")].map((text) =>
      createElement("th", { scope: "col" }, text)));
    const rows = table.inputs.slice(0, MAX_ROWS).map((_, index) => {
      const input = createElement("input", { type: "radio", name: "row", value: index, checked: index === this.row });
      input.setAttribute("aria-label", t("rowN", { n: index + 1 }));
      input.addEventListener("change", () => {
        this.row = index;
        this.#showRow();
      });
      const isUnusual = table.unusual?.[index];
      return createElement("tr", { className: isUnusual ? "is-unusual" : "" },
        createElement("th", { scope: "row" }, createElement("label", {}, input, ` ${index + 1}`)),
        ...carried.map((name) => createElement("td", {}, table.carried[name][index])),
        createElement("td", {}, table.reconstruction_error[index].toPrecision(3)),
        createElement("td", {}, `${Math.round(table.percentile[index])}${isUnusual ? ` · ${t("unusualRow")}` : ""}`));
    });
    $("rows").replaceChildren(createElement("thead", {}, head), createElement("tbody", {}, ...rows));
    const [list, selected] = [$("rows").parentElement, rows[this.row]];
    if (selected) list.scrollTop = selected.offsetTop - list.clientHeight / 2; // and the page stays where it is
    $("rows-title").textContent = t("rowsRead", { n: table.inputs.length, columns: table.columns.length });
    $("rows-more").textContent = table.inputs.length > MAX_ROWS ? t("rowsMore", { n: MAX_ROWS }) : "";
  }

  #showRow() {
    const { table, row } = this;
    this.decoded = null;
    $("reset-row").disabled = true;
    if (this.hasSliders) this.sliders.setValues(table.latents[row]);
    this.#showOutput(table.outputs[row]);
  }

  #showOutput(output) {
    const { table, row } = this;
    drawRow($("row-chart"), this.#toShown(table.inputs[row]), this.#toShown(output), table.columns);
    $("row-stats").textContent = this.decoded
      ? t("rowMoved", { n: row + 1 })
      : t("rowStats", { n: row + 1, error: table.reconstruction_error[row].toPrecision(3), percentile: Math.round(table.percentile[row]) });
    this.#showDifferences(output);
  }

  /** Columns of very different units are shown in deviations, else the small ones would be flat lines. */
  #toShown(values) {
    const deviations = (this.columns ?? []).map(({ deviation }) => deviation).filter((deviation) => deviation > 0);
    if (Math.max(...deviations) / Math.min(...deviations) < 20 || !deviations.length) return values;
    return values.map((value, index) => (value - this.columns[index].mean) / (this.columns[index].deviation || 1));
  }

  #showDifferences(output) {
    const { table, row } = this;
    const input = table.inputs[row];
    const distances = input.map((value, index) => {
      const difference = output[index] - value;
      return this.columns ? difference / (this.columns[index].deviation || Infinity) : difference;
    });
    const order = distances.map((_, index) => index).sort((a, b) => Math.abs(distances[b]) - Math.abs(distances[a]));
    const head = createElement("tr", {}, ...["columnName", "rowWas", "rowIs", this.columns ? "inDeviations" : "difference"].map((key) =>
      createElement("th", { scope: "col" }, t(key))));
    const rows = order.slice(0, MAX_DIFFERENT).map((index) => createElement("tr", {},
      createElement("th", { scope: "row" }, table.columns[index]),
      createElement("td", {}, input[index].toPrecision(4)),
      createElement("td", {}, output[index].toPrecision(4)),
      createElement("td", {}, distances[index].toFixed(2).replace("-", "−"))));
    $("differences").replaceChildren(createElement("caption", {}, t("differences")), createElement("thead", {}, head), createElement("tbody", {}, ...rows));
  }

  #decode(values) {
    const { model, table, row } = this;
    if (!table) return;
    this.runLatest(async () => {
      const path = `v1/models/${model.name}/decode`;
      const latents = [values.map((value) => Number(value.toPrecision(5)))];
      const { response } = await post(path, { latents, model: model.name, version: model.version });
      const { outputs } = await response.json();
      if (this.model !== model || this.table !== table || this.row !== row) return;
      this.decoded = outputs[0];
      $("reset-row").disabled = false;
      this.showCurl(curlJson(path, { latents }));
      this.#showOutput(outputs[0]);
    });
  }

  /** Rows of the package's own test split; of packages without, rows around the mean. */
  async #openExample() {
    const { model } = this;
    const rows = await loadExamples(model);
    if (this.model !== model || this.table || (!rows && !this.columns)) return;
    const names = this.columns?.map(({ name }, index) => name ?? `column_${index + 1}`);
    const text = rows ? [...(names ? [names] : []), ...rows].map((cells) => cells.map(quote).join(",")).join("\n") : this.#exampleText();
    await this.openText(text, "example.csv");
  }

  /** Rows around the mean of the training data, when the package carries none: the mean, and each deviation of a few. */
  #exampleText() {
    const names = this.columns.map(({ name }, index) => name ?? `column_${index + 1}`);
    const rows = [["mean", 0], ["plus", 1], ["minus", -1]].map(([label, step]) =>
      [label, ...this.columns.map(({ mean, deviation }) => mean + step * deviation)]);
    return [["row", ...names], ...rows].map((cells) => cells.map(quote).join(",")).join("\n");
  }

  #showCurlOfModel() {
    const path = `v1/models/${this.model.name}/${this.model.operations[0]}`;
    this.showCurl(this.isUsable ? curlTable(path, "table.csv", "text/csv") : curlJson(path, { inputs: [Array(this.size).fill(0)] }));
  }
}

const quote = (cell) => (/[",\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : cell);

const indexOfLargest = (values) => values.slice(0, MAX_ROWS).reduce((best, value, index) => (value > values[best] ? index : best), 0);
