"use strict";
/* One timeline: memory by purpose, step by step, with what is alive at each. */

const SVG = "http://www.w3.org/2000/svg";
/* Bands from the bottom up; kinds of the twin, and the colour and pattern that show them. */
const BANDS = [
  { key: "context", label: "context and code", kinds: [] },
  { key: "weights", label: "weights", kinds: ["weight", "prepacked weight"] },
  { key: "io", label: "inputs and outputs", kinds: ["feed", "output", "output copy"] },
  { key: "activations", label: "tensors between nodes", kinds: ["activation"] },
  { key: "workspace", label: "kernel workspace", kinds: ["scratch"] },
  { key: "gap", label: "unoccupied in the memory pattern", kinds: ["memory pattern gap"] },
];

function bytesText(bytes) {
  const units = [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]];
  for (const [size, unit] of units) {
    if (Math.abs(bytes) >= size) return (bytes / size).toFixed(2) + " " + unit;
  }
  return bytes + " B";
}

/* An element with attributes and children; text is always text, never markup. */
function element(name, attributes, ...children) {
  const isSvg = ["svg", "g", "path", "line", "rect", "text", "circle", "defs", "pattern", "title"].includes(name);
  const made = isSvg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/* The numbers of a chart, unpacked and summed. */
class Timeline {
  constructor(data) {
    this.data = data;
    this.nSteps = data.steps.length / 4;
    this.nTensors = data.tensors.length / 6;
    const bandOf = data.kinds.map((kind) => {
      const band = BANDS.findIndex((one) => one.kinds.includes(kind));
      return band < 0 ? 3 : band;
    });
    this.bands = BANDS.map(() => new Float64Array(this.nSteps + 1));
    for (let at = 0; at < data.tensors.length; at += 6) {
      const band = this.bands[bandOf[data.tensors[at + 1]]];
      band[data.tensors[at + 4]] += data.tensors[at + 3];
      band[data.tensors[at + 5] + 1] -= data.tensors[at + 3];
    }
    for (const band of this.bands) for (let step = 1; step < band.length; step++) band[step] += band[step - 1];
    for (let step = 0; step < this.nSteps; step++) {
      this.bands[0][step] = data.besides;
      this.bands[5][step] = this.gap(step);
    }
    this.mostHeld = 0;
    this.mostUsed = 0;
    /* Where tensors take most: a memory pattern's block hides that from what is in use. */
    this.fullest = 0;
    for (let step = 0; step < this.nSteps; step++) {
      this.mostHeld = Math.max(this.mostHeld, this.held(step) + data.besides);
      this.mostUsed = Math.max(this.mostUsed, this.inUse(step) + data.besides);
      if (this.inUse(step) - this.gap(step) > this.inUse(this.fullest) - this.gap(this.fullest)) this.fullest = step;
    }
  }
  inUse(step) { return this.data.steps[step * 4 + 1]; }
  held(step) { return this.data.steps[step * 4 + 2]; }
  gap(step) { return this.data.steps[step * 4 + 3]; }
  node(step) {
    const node = this.data.steps[step * 4];
    return node < 0 ? null : this.data.nodes[node];
  }
  phase(step) {
    const phases = this.data.phases;
    let at = phases.length - 1;
    while (at > 0 && phases[at][1] > step) at -= 1;
    return phases[at];
  }
  title(step) {
    const node = this.node(step);
    const [phase, first] = this.phase(step);
    if (node) return (node[0] || node[1]) + " (" + node[1] + ")";
    if (phase !== "load") return "inputs of " + phase;
    return step === first ? "session created" : "loading";
  }
  place(step) {
    const [phase, first] = this.phase(step);
    return phase + (this.node(step) ? ", step " + (step - first) : "");
  }
  /* Largest first; they and the unoccupied bytes sum to what is in use. */
  alive(step) {
    const rows = [];
    const t = this.data.tensors;
    for (let at = 0; at < t.length; at += 6) {
      if (t[at + 4] <= step && step <= t[at + 5]) {
        const made = t[at + 2] < 0 ? "" : this.data.nodes[t[at + 2]][0];
        const kind = this.data.kinds[t[at + 1]];
        rows.push({ name: this.data.names[t[at]] || kind, kind, made, bytes: t[at + 3], first: t[at + 4], last: t[at + 5] });
      }
    }
    if (this.gap(step) > 0) {
      rows.push({ name: "unoccupied in the memory pattern", kind: "gap", made: "", bytes: this.gap(step), first: step, last: step });
    }
    return rows.sort((left, right) => right.bytes - left.bytes);
  }
}

class Chart {
  constructor(root, data, id) {
    this.t = new Timeline(data);
    this.id = id;
    this.from = 0;
    this.to = this.t.nSteps;
    this.step = data.failed === null ? this.t.fullest : data.failed;
    this.height = 340;
    this.margin = { left: 66, right: 14, top: 26, bottom: 24 };
    this.build(root, data);
    new ResizeObserver(() => this.draw()).observe(this.plot);
    this.draw();
    this.inspect();
  }

  build(root, data) {
    const button = (text, label, act) => {
      const made = element("button", { type: "button", "aria-label": label }, text);
      made.addEventListener("click", act);
      return made;
    };
    this.where = element("span", { class: "where" });
    const tools = element("div", { class: "tools", role: "group", "aria-label": "Timeline controls" },
      button("−", "Zoom out", () => this.zoom(2)), button("+", "Zoom in", () => this.zoom(0.5)),
      button("Whole run", "Show the whole run", () => this.show(0, this.t.nSteps)),
      button("Peak in use", "Go to the peak in use", () => this.select(data.peak, true)),
      this.t.fullest === data.peak ? null : button("Most tensors", "Go to where tensors take most", () => this.select(this.t.fullest, true)),
      data.failed === null ? null : button("Failing step", "Go to the step that fails", () => this.select(data.failed, true)),
      data.budget === null ? null : (this.scaleButton = button("Show the limit", "Scale the chart up to the memory there is", () => this.toggleScale())),
      this.where);
    const legend = element("ul", { class: "legend", "aria-label": "Legend" });
    BANDS.forEach((band, index) => {
      if (this.t.bands[index].some((bytes) => bytes > 0)) {
        legend.append(element("li", {}, element("i", { class: "k-" + band.key, "aria-hidden": "true" }), band.label));
      }
    });
    legend.append(element("li", {}, "━ held by the arena"));
    if (data.budget !== null) legend.append(element("li", {}, "╌ memory there is"));
    this.svg = element("svg", { "aria-hidden": "true" });
    this.tip = element("div", { class: "tip", role: "tooltip", hidden: "" });
    this.plot = element("div", {
      class: "plot", tabindex: "0", role: "slider", "aria-label": "Step of the run, " + data.title,
      "aria-valuemin": "1", "aria-valuemax": String(this.t.nSteps), "aria-orientation": "horizontal",
    }, this.svg, this.tip);
    this.windowBar = element("i", {});
    this.alive = element("div", { class: "alive" });
    root.append(tools, legend, this.plot, element("div", { class: "window", "aria-hidden": "true" }, this.windowBar), this.alive);
    this.withLimit = data.budget !== null && data.budget <= 2.2 * Math.max(this.t.mostHeld, 1);
    this.listen();
  }

  listen() {
    const plot = this.plot;
    plot.addEventListener("pointermove", (event) => {
      const step = this.stepAt(event);
      if (this.brush) {
        this.brush.to = step;
        this.drawCursor();
      } else {
        this.select(step, false, event);
      }
    });
    plot.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.brush = { from: this.stepAt(event), to: this.stepAt(event) };
      plot.setPointerCapture(event.pointerId);
    });
    plot.addEventListener("pointerup", () => {
      const brush = this.brush;
      this.brush = null;
      if (brush && Math.abs(brush.to - brush.from) > 1) {
        this.show(Math.min(brush.from, brush.to), Math.max(brush.from, brush.to) + 1);
      } else {
        this.drawCursor();
      }
    });
    plot.addEventListener("pointercancel", () => { this.brush = null; this.drawCursor(); });
    plot.addEventListener("dblclick", () => this.show(0, this.t.nSteps));
    plot.addEventListener("wheel", (event) => {
      const whole = this.to - this.from >= this.t.nSteps;
      if (event.deltaY > 0 && whole && event.deltaX === 0) return;
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan(event.deltaX / 600);
      else this.zoom(Math.pow(1.0015, event.deltaY), this.stepAt(event));
    }, { passive: false });
    plot.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const far = event.shiftKey ? Math.max(1, Math.round((this.to - this.from) / 20)) : 1;
      const acts = {
        ArrowLeft: () => this.select(this.step - far, true), ArrowRight: () => this.select(this.step + far, true),
        ArrowDown: () => this.select(this.step - far, true), ArrowUp: () => this.select(this.step + far, true),
        PageDown: () => this.pan(0.5), PageUp: () => this.pan(-0.5),
        Home: () => this.select(0, true), End: () => this.select(this.t.nSteps - 1, true),
        "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), 0: () => this.show(0, this.t.nSteps),
        p: () => this.select(this.t.data.peak, true), P: () => this.select(this.t.data.peak, true),
        Escape: () => { this.tip.hidden = true; },
      };
      if (acts[event.key]) {
        event.preventDefault();
        acts[event.key]();
      }
    });
    plot.addEventListener("blur", () => { this.tip.hidden = true; });
  }

  stepAt(event) {
    const box = this.svg.getBoundingClientRect();
    const share = (event.clientX - box.left - this.margin.left) / this.inner();
    return Math.min(Math.max(Math.floor(this.from + share * (this.to - this.from)), this.from), this.to - 1);
  }
  inner() { return Math.max(this.width - this.margin.left - this.margin.right, 10); }
  x(step) { return this.margin.left + ((step - this.from) / (this.to - this.from)) * this.inner(); }
  y(bytes) {
    const room = this.height - this.margin.top - this.margin.bottom;
    return this.height - this.margin.bottom - (Math.min(bytes, this.top * 1.2) / this.top) * room;
  }

  show(from, to) {
    const n = this.t.nSteps;
    const size = Math.min(Math.max(Math.round(to - from), Math.min(8, n)), n);
    this.from = Math.min(Math.max(Math.round(from), 0), n - size);
    this.to = this.from + size;
    this.draw();
  }
  zoom(factor, around) {
    const size = this.to - this.from;
    const wanted = factor > 1 ? Math.ceil(size * factor) : Math.floor(size * factor);
    const at = around === undefined ? Math.min(Math.max(this.step, this.from), this.to) : around;
    this.show(at - ((at - this.from) / size) * wanted, at + ((this.to - at) / size) * wanted);
  }
  pan(share) {
    const by = Math.round(share * (this.to - this.from)) || Math.sign(share);
    this.show(this.from + by, this.to + by);
  }
  toggleScale() {
    this.withLimit = !this.withLimit;
    this.draw();
  }

  /* Chooses a step: by pointer the tooltip follows it, by key the view does. */
  select(step, reveal, event) {
    this.step = Math.min(Math.max(step, 0), this.t.nSteps - 1);
    if (reveal && (this.step < this.from || this.step >= this.to)) {
      const half = (this.to - this.from) / 2;
      this.show(this.step - half, this.step + half);
    }
    this.drawCursor();
    this.inspect();
    this.showTip(event);
  }

  /* In each column of pixels, the step with most in use. */
  columns() {
    const n = this.to - this.from;
    const most = Math.max(Math.floor(this.inner()), 1);
    const columns = [];
    for (let column = 0, nColumns = Math.min(n, most); column < nColumns; column++) {
      const first = this.from + Math.floor((column * n) / nColumns);
      const end = this.from + Math.floor(((column + 1) * n) / nColumns);
      let best = first;
      for (let step = first + 1; step < end; step++) if (this.t.inUse(step) > this.t.inUse(best)) best = step;
      columns.push({ step: best, left: this.x(first), right: this.x(end) });
    }
    return columns;
  }

  draw() {
    const data = this.t.data;
    this.width = this.plot.clientWidth || 900;
    this.svg.setAttribute("viewBox", "0 0 " + this.width + " " + this.height);
    this.top = Math.max(this.t.mostHeld, this.t.mostUsed, this.withLimit ? data.budget : 0, 1) * 1.06;
    const parts = [this.patterns()];
    for (let tick = 0, by = tickSize(this.top); tick <= this.top; tick += by) {
      const y = this.y(tick);
      parts.push(element("line", { class: "grid", x1: this.margin.left, x2: this.width - this.margin.right, y1: y, y2: y }));
      parts.push(element("text", { x: this.margin.left - 8, y: y + 4, "text-anchor": "end" }, tickText(tick, by)));
    }
    const columns = this.columns();
    const below = new Float64Array(columns.length);
    BANDS.forEach((band, index) => {
      const values = this.t.bands[index];
      if (!values.some((bytes) => bytes > 0)) return;
      let up = "";
      let down = "";
      columns.forEach((column, at) => {
        const [low, high] = [this.y(below[at]).toFixed(1), this.y(below[at] + values[column.step]).toFixed(1)];
        const [left, right] = [column.left.toFixed(1), column.right.toFixed(1)];
        up += (at ? "L" : "M") + left + " " + high + "H" + right;
        down = "L" + right + " " + low + "H" + left + down;
        below[at] += values[column.step];
      });
      parts.push(element("path", { d: up + down + "Z", fill: "url(#" + this.id + "-" + band.key + ")" }));
    });
    let held = "";
    columns.forEach((column, at) => {
      held += (at ? "L" : "M") + column.left.toFixed(1) + " " + this.y(this.t.held(column.step) + data.besides).toFixed(1) + "H" + column.right.toFixed(1);
    });
    parts.push(element("path", { class: "held", d: held }));
    parts.push(...this.phases(), ...this.limit());
    this.cursor = element("g", {});
    parts.push(this.cursor);
    this.svg.replaceChildren(...parts);
    const share = (step) => (100 * step) / this.t.nSteps;
    this.windowBar.style.left = share(this.from) + "%";
    this.windowBar.style.width = share(this.to - this.from) + "%";
    if (this.scaleButton) this.scaleButton.textContent = this.withLimit ? "Fit to what is held" : "Show the limit";
    this.drawCursor();
  }

  phases() {
    const parts = [];
    this.t.data.phases.forEach(([name, first], index) => {
      const next = index + 1 < this.t.data.phases.length ? this.t.data.phases[index + 1][1] : this.t.nSteps;
      if (next <= this.from || first >= this.to) return;
      const x = this.x(Math.max(first, this.from));
      if (first > this.from) parts.push(element("line", { class: "phase", x1: x, x2: x, y1: 8, y2: this.height - this.margin.bottom }));
      const room = this.x(Math.min(next, this.to)) - x;
      if (room > 7 * name.length) parts.push(element("text", { class: "strong", x: x + 5, y: 14 }, name));
    });
    const n = this.to - this.from;
    for (let step = Math.ceil(this.from / niceCount(n)) * niceCount(n); step < this.to; step += niceCount(n)) {
      parts.push(element("text", { x: this.x(step), y: this.height - 7, "text-anchor": "middle" }, String(step)));
    }
    return parts;
  }

  limit() {
    const budget = this.t.data.budget;
    if (budget === null) return [];
    const right = this.width - this.margin.right;
    if (budget > this.top) {
      return [element("text", { class: "over halo", x: right, y: this.margin.top + 3, "text-anchor": "end" }, "↑ memory there is: " + bytesText(budget))];
    }
    const y = this.y(budget);
    const peakY = this.y(this.t.inUse(this.t.data.peak) + this.t.data.besides);
    const isCrowded = Math.abs(peakY - y) < 34 && this.x(this.t.data.peak) > this.width - 320;
    const label = isCrowded ? { x: this.margin.left + 6, "text-anchor": "start" } : { x: right, "text-anchor": "end" };
    return [
      element("line", { class: "budget", x1: this.margin.left, x2: right, y1: y, y2: y }),
      element("text", { class: "over halo", y: y - 6, ...label }, "memory there is: " + bytesText(budget)),
    ];
  }

  /* Fills that differ by pattern as well as by colour. */
  patterns() {
    const defs = element("defs", {});
    const lines = { context: "M-2 8L8 -2M6 12L12 6M-2 -2", io: "M5 0V10", gap: "M-2 -2L12 12M-2 8L2 12M8 -2L12 2" };
    for (const band of BANDS) {
      const color = "var(--" + band.key + ")";
      const pattern = element("pattern", { id: this.id + "-" + band.key, width: 10, height: 10, patternUnits: "userSpaceOnUse" },
        element("rect", { width: 10, height: 10, style: "fill:" + color }));
      const ink = "stroke:var(--panel);stroke-width:1.6;fill:none;opacity:.55";
      if (lines[band.key]) pattern.append(element("path", { d: lines[band.key], style: ink }));
      if (band.key === "workspace") pattern.append(element("circle", { cx: 5, cy: 5, r: 1.6, style: "fill:var(--panel);opacity:.8" }));
      defs.append(pattern);
    }
    return defs;
  }

  drawCursor() {
    const parts = [];
    const bottom = this.height - this.margin.bottom;
    if (this.brush && this.brush.from !== this.brush.to) {
      const [left, right] = [Math.min(this.brush.from, this.brush.to), Math.max(this.brush.from, this.brush.to) + 1];
      parts.push(element("rect", { class: "brush", x: this.x(left), width: this.x(right) - this.x(left), y: this.margin.top, height: bottom - this.margin.top }));
    }
    const mark = (step, text) => {
      if (step < this.from || step >= this.to) return;
      const [x, y] = [this.x(step + 0.5), this.y(this.t.inUse(step) + this.t.data.besides)];
      const nearEnd = x > this.width - 130;
      parts.push(element("circle", { class: "mark", cx: x, cy: y, r: 4 }));
      parts.push(element("text", { class: "strong halo", x: nearEnd ? x - 9 : x + 9, y: y + 15, "text-anchor": nearEnd ? "end" : "start" }, text));
    };
    mark(this.t.data.peak, "peak in use");
    if (this.t.data.failed !== null) mark(this.t.data.failed, "✕ fails here");
    if (this.step >= this.from && this.step < this.to) {
      const x = this.x(this.step + 0.5);
      parts.push(element("line", { class: "cursor", x1: x, x2: x, y1: this.margin.top - 6, y2: bottom }));
    }
    this.cursor.replaceChildren(...parts);
    this.where.textContent = "steps " + this.from + "–" + (this.to - 1) + " of " + this.t.nSteps;
  }

  aliveTable(rows, total, nShown, withMade) {
    const body = element("tbody", {});
    const cells = (...texts) => {
      const row = element("tr", {});
      texts.forEach((text, index) => row.append(element("td", { class: index < 2 ? "n" : index % 2 ? "kind" : "long" }, text)));
      body.append(row);
    };
    const share = (bytes) => (total ? ((100 * bytes) / total).toFixed(1) + " %" : "");
    for (const row of rows.slice(0, nShown)) {
      const life = row.kind === "gap" ? "" : row.first + "–" + row.last;
      const last = withMade ? [row.kind, row.made || "–", life] : [row.kind];
      cells(bytesText(row.bytes), share(row.bytes), row.name, ...last);
    }
    const rest = rows.slice(nShown).reduce((sum, row) => sum + row.bytes, 0);
    if (rows.length > nShown) cells(bytesText(rest), share(rest), rows.length - nShown + " more", ...(withMade ? ["", "", ""] : [""]));
    return body;
  }

  summary(step) {
    const data = this.t.data;
    const [inUse, held] = [this.t.inUse(step), this.t.held(step)];
    let text = "in use " + bytesText(inUse) + ", held " + bytesText(held) + " (" + bytesText(Math.max(held - inUse, 0)) + " of it free)";
    if (data.budget !== null) {
      const left = data.budget - held - data.besides;
      text += left >= 0 ? ", " + bytesText(left) + " left on the device" : ", " + bytesText(-left) + " more than there is";
    }
    return text;
  }

  inspect() {
    const rows = this.t.alive(this.step);
    const title = this.t.place(this.step) + ": " + this.t.title(this.step);
    this.plot.setAttribute("aria-valuenow", String(this.step + 1));
    this.plot.setAttribute("aria-valuetext", title + "; " + this.summary(this.step) + "; largest: " +
      rows.slice(0, 3).map((row) => row.name + " " + bytesText(row.bytes)).join(", "));
    const table = element("table", {}, element("caption", {}, "Alive at the chosen step"));
    const head = element("tr", {});
    ["bytes", "share", "alive here", "kind", "made by", "steps"].forEach((name, index) => head.append(element("th", { scope: "col", class: index < 2 ? "n" : "" }, name)));
    table.append(element("thead", {}, head), this.aliveTable(rows, this.t.inUse(this.step), 12, true));
    this.alive.replaceChildren(element("h4", {}, title), element("p", { class: "quiet" }, sentence(this.summary(this.step)) + "."),
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Alive at the chosen step" }, table));
  }

  showTip(event) {
    if (this.step < this.from || this.step >= this.to) return;
    const rows = this.t.alive(this.step);
    this.tip.replaceChildren(element("b", {}, this.t.title(this.step)), element("div", { class: "quiet" }, this.t.place(this.step) + "; " + this.summary(this.step)),
      element("table", {}, this.aliveTable(rows, this.t.inUse(this.step), 6, false)));
    this.tip.hidden = false;
    const x = event ? event.clientX - this.svg.getBoundingClientRect().left : this.x(this.step + 0.5);
    const isRight = x > this.width / 2;
    this.tip.style.left = isRight ? "auto" : Math.round(x + 16) + "px";
    this.tip.style.right = isRight ? Math.round(this.width - x + 16) + "px" : "auto";
    this.tip.style.top = this.margin.top + "px";
  }
}

function sentence(text) { return text.charAt(0).toUpperCase() + text.slice(1); }

/* A round step in binary units that gives about five lines. */
function tickSize(top) {
  let unit = 1;
  while (unit * 1024 <= top / 2) unit *= 1024;
  const wanted = top / 5 / unit;
  const round = [1, 2, 4, 5, 8, 10, 20, 50, 100, 128, 200, 256, 512, 1024];
  return unit * (round.find((size) => size >= wanted) || 1024);
}
function tickText(bytes, by) {
  const text = bytesText(bytes);
  return by % 1 ? text : text.replace(/\.00 /, " ").replace(/(\.\d)0 /, "$1 ");
}
function niceCount(n) {
  let by = 1;
  for (const factor of [2, 2.5, 2, 2, 2.5, 2, 2, 2.5, 2, 2, 2.5, 2, 2, 2.5, 2]) {
    if (n / by <= 10) break;
    by *= factor;
  }
  return Math.max(Math.round(by), 1);
}
