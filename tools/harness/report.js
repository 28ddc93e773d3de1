"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const colours = ["#3b6fb6", "#e08a2c", "#4a9a5b", "#b5473c", "#8566a8", "#8a6a52", "#7f7f7f"];

function element(name, text, style) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (style) made.className = style;
  return made;
}

function fillTable(table, head, lines) {
  table.replaceChildren();
  for (const [cell, cells] of [["th", head], ...lines.map((line) => ["td", line])]) {
    const row = table.insertRow();
    for (const value of cells) row.append(value instanceof Node ? value : element(cell, value));
  }
}

function signed(number, digits) {
  const sign = number > 0 ? "+" : number < 0 ? "−" : "";
  return sign + Math.abs(number).toFixed(digits);
}

function percent(fraction) {
  if (fraction === null || fraction === undefined) return element("td", "–");
  return element("td", `${signed(100 * fraction, 1)} %`, fraction > 0 ? "worse" : "better");
}

function fillSelect(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
}

function showHead() {
  find("count").textContent = data.pictures;
  find("command").textContent = data.command;
  const machine = data.machine;
  find("circumstances").textContent =
    `${data.date}, rarefy ${data.versions.rarefy}, commit ${data.commit}, ` +
    `${machine.cpu} (${machine.cores} cores), ${machine.threads} thread${machine.threads === 1 ? "" : "s"}, ${machine.system}`;
  find("means").textContent = `Means are ${data.means || "of each metric over pictures, not of the error behind it"}.`;
  const notes = Object.entries(data.left_out || {}).map(([name, reason]) => `${name} is left out: ${reason}`);
  notes.push(...(data.unusable_files || []).map((name) => `${name} is no usable picture`), ...(data.failures || []));
  find("left-out").replaceChildren(...notes.map((note) => element("li", note)));
  const settings = find("settings");
  for (const [codec, words] of Object.entries(data.codecs || {})) {
    const values = (data.curves[codec] || []).map((point) => point.setting).join(", ");
    settings.append(element("dt", codec), element("dd", `${words}; settings ${values}`));
  }
  for (const facts of Object.values(data.metrics)) {
    settings.append(element("dt", facts.label), element("dd", facts.describe));
  }
}

function showRates() {
  const anchor = find("anchor").value, metric = find("metric").value;
  const differences = data.bd_rates[metric];
  const lines = Object.keys(data.curves).map((codec) => [
    codec,
    codec === anchor ? "0" : percent(differences.pchip[codec][anchor]),
    codec === anchor ? "0" : percent(differences.akima[codec][anchor]),
  ]);
  fillTable(find("rates"), ["", "PCHIP", "Akima"], lines);
}

function showEqual() {
  const isReached = (name) => Object.values(data.equal).flat().some((row) => typeof row.fidelities[name] === "number");
  const others = Object.keys(data.curves).filter(isReached), metric = Object.values(data.metrics)[0].label;
  const lines = Object.entries(data.equal).flatMap(([codec, rows]) => rows.map((row) => [
    `${codec}, ${row.bits_per_pixel.toFixed(3)} bpp, ${row.fidelity.toFixed(2)}`,
    ...others.map((name) => {
      const gain = row.fidelities[name], cell = percent(row.rates[name]);
      if (gain !== null && gain !== undefined) cell.append(`, ${signed(gain, 2)}`);
      return cell;
    }),
  ]));
  fillTable(find("equal"), [`bits at equal ${metric}, ${metric} at equal size`, ...others], lines);
}

function bars(target, names, lines, unit) {
  const legend = element("p", undefined, "legend");
  names.forEach((name, index) => {
    const box = element("span");
    box.style.background = colours[index % colours.length];
    legend.append(box, name.replaceAll("_", " "));
  });
  const longest = Math.max(...lines.map((line) => line.total), 1e-9);
  target.append(legend);
  for (const line of lines) {
    const bar = element("div", undefined, "bar");
    names.forEach((name, index) => {
      const part = element("span");
      part.style.background = colours[index % colours.length];
      part.style.width = `${(100 * (line.parts[name] || 0)) / longest}%`;
      part.title = `${name}: ${(line.parts[name] || 0).toFixed(1)} ${unit}`;
      bar.append(part);
    });
    const row = element("div", undefined, "line");
    row.append(element("span", line.label), bar, element("span", line.words));
    target.append(row);
  }
}

function showBytes() {
  const lines = [];
  for (const [codec, points] of Object.entries(data.parts)) {
    for (const point of points) {
      const total = Object.values(point.size_parts).reduce((sum, value) => sum + value, 0);
      const share = Object.entries(point.size_parts).map(([name, value]) => `${name} ${value.toFixed(0)}`);
      if (total) lines.push({ label: `${codec} @${point.setting}`, parts: point.size_parts, total, words: share.join(", ") });
    }
  }
  find("bytes-head").hidden = !lines.length;
  if (lines.length) bars(find("bytes"), [...new Set(lines.flatMap((line) => Object.keys(line.parts)))], lines, "bytes");
}

function showTimes() {
  const lines = [];
  for (const [codec, points] of Object.entries(data.parts)) {
    const middle = Math.floor(points.length / 2);
    for (const way of ["encode", "decode"]) {
      const total = data.curves[codec][middle][`${way}_ms`];
      const parts = { ...points[middle][`${way}_parts_ms`] };
      parts.rest = Math.max(0, total - Object.values(parts).reduce((sum, value) => sum + value, 0));
      const peak = points[middle][`${way}_peak_bytes`];
      const memory = peak === null ? "" : `, ${(peak / 1e6).toFixed(0)} MB`;
      lines.push({ label: `${codec} @${points[middle].setting}, ${way}`, parts, total, words: `${total.toFixed(1)} ms${memory}` });
    }
  }
  const names = [...new Set(lines.flatMap((line) => Object.keys(line.parts)))].filter((name) => name !== "rest");
  bars(find("times"), [...names, "rest"], lines, "ms");
}

const player = {
  versions: () => data.shown[find("picture").selectedIndex].versions,

  label(version) {
    if (version.codec === "original") return "original";
    const name = data.shown[find("picture").selectedIndex].name;
    const row = data.rows.find((row) => row.picture === name && row.codec === version.codec && row.setting === version.setting);
    if (!row) return version.codec;
    const values = Object.entries(data.metrics).map(([key, facts]) =>
      row[key] === null ? `${facts.label} –` : `${facts.label} ${row[key].toFixed(facts.digits)}`);
    const size = `${row.size_bytes} bytes, ${row.bits_per_pixel.toFixed(3)} bpp`;
    return `${row.codec} @${row.setting}: ${size}, ${values.join(", ")}`;
  },

  fill() {
    const pairs = this.versions().map((version, index) =>
      [String(index), version.codec === "original" ? "original" : `${version.codec} @${version.setting}`]);
    for (const side of ["left", "right"]) {
      const select = find(side), before = select.selectedIndex;
      fillSelect(select, pairs);
      select.selectedIndex = before >= 0 && before < pairs.length ? before : side === "left" ? 0 : 1 % pairs.length;
    }
  },

  show() {
    const item = data.shown[find("picture").selectedIndex], versions = item.versions;
    for (const side of ["left", "right"]) {
      const version = versions[find(side).selectedIndex];
      const image = find(`image-${side}`);
      if (image.getAttribute("src") !== version.source) image.setAttribute("src", version.source);
      find(`label-${side}`).textContent = this.label(version);
    }
    const zoom = Number(find("zoom").value), sheet = find("sheet");
    const width = zoom ? item.width * zoom : Math.min(item.width, find("stage").clientWidth || item.width);
    sheet.style.width = `${width}px`;
    sheet.style.height = `${(width * item.height) / item.width}px`;
    sheet.classList.toggle("enlarged", zoom > 1);
    const split = Number(find("split").value);
    find("image-right").style.clipPath = `inset(0 0 0 ${split}%)`;
    find("divider").style.left = `${split}%`;
    const state = new URLSearchParams({ picture: find("picture").selectedIndex, left: find("left").selectedIndex });
    state.set("right", find("right").selectedIndex);
    state.set("split", String(split));
    state.set("zoom", String(zoom));
    history.replaceState(null, "", `#${state}`);
  },

  restore() {
    const state = new URLSearchParams(location.hash.slice(1));
    const choose = (id) => {
      const index = Number(state.get(id) ?? -1);
      if (Number.isInteger(index) && index >= 0 && index < find(id).length) find(id).selectedIndex = index;
    };
    choose("picture");
    this.fill();
    choose("left");
    choose("right");
    if (state.has("split")) find("split").value = state.get("split");
    if (state.has("zoom")) find("zoom").value = state.get("zoom");
    if (find("zoom").selectedIndex < 0) find("zoom").selectedIndex = 0;
  },

  step(id, by) {
    const select = find(id);
    select.selectedIndex = Math.max(0, Math.min(select.length - 1, select.selectedIndex + by));
    if (id === "picture") this.fill();
    this.show();
  },

  flip() {
    const left = find("left"), right = find("right");
    [left.selectedIndex, right.selectedIndex] = [right.selectedIndex, left.selectedIndex];
    this.show();
  },

  move(by) {
    find("split").value = Number(find("split").value) + by;
    this.show();
  },

  start() {
    if (!data.shown.length) return;
    find("player").hidden = false;
    fillSelect(find("picture"), data.shown.map((item, index) => [String(index), item.name]));
    this.restore();
    this.show();
    find("picture").addEventListener("change", () => { this.fill(); this.show(); });
    for (const id of ["left", "right", "zoom"]) find(id).addEventListener("change", () => this.show());
    find("split").addEventListener("input", () => this.show());
    window.addEventListener("hashchange", () => { this.restore(); this.show(); });
    const drag = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = find("sheet").getBoundingClientRect();
      find("split").value = (100 * (event.clientX - box.left)) / box.width;
      this.show();
    };
    for (const kind of ["pointerdown", "pointermove"]) find("sheet").addEventListener(kind, drag);
    const keys = {
      f: () => this.flip(), "[": () => this.step("picture", -1), "]": () => this.step("picture", 1),
      ArrowLeft: () => this.move(-1), ArrowRight: () => this.move(1),
      "+": () => this.step("zoom", 1), "-": () => this.step("zoom", -1),
    };
    document.addEventListener("keydown", (event) => {
      const isForm = ["SELECT", "INPUT"].includes(event.target.tagName) && event.key.startsWith("Arrow");
      const action = isForm || event.ctrlKey || event.metaKey || event.altKey ? undefined : keys[event.key] || keys[event.key.toLowerCase()];
      if (action) { event.preventDefault(); action(); }
    });
  },
};

showHead();
fillSelect(find("metric"), Object.entries(data.metrics).map(([key, facts]) => [key, facts.label]));
const anchors = (data.anchors || []).filter((name) => name in data.curves);
fillSelect(find("anchor"), anchors.map((name) => [name, name]));
if (anchors.length) {
  for (const id of ["anchor", "metric"]) find(id).addEventListener("change", showRates);
  showRates();
}
showEqual();
showBytes();
showTimes();
player.start();
