"use strict";
// Three planes through volumes that stand in the page. No network, no library.
(function () {
  const root = document.getElementById("viewer");
  const data = JSON.parse(document.getElementById("volumes").textContent);
  const [nx, ny, nz] = data.shape;
  const planes = {  // axes that are cut, drawn across (mirrored) and up, as in RelAPETLib/report/pictures.py
    axial: { normal: 2, across: 0, up: 1, marks: ["R", "L"] },
    coronal: { normal: 1, across: 0, up: 2, marks: ["R", "L"] },
    sagittal: { normal: 0, across: 1, up: 2, marks: ["A", "P"] },
  };
  const PIXELS_PER_MM = 3, EDGE = [0, 229, 255];
  const state = { view: 0, window: 0, below: "t1w", opacity: 0.75, cross: true, at: data.centre.slice() };
  const layers = {}, colours = {};
  const find = (selector) => root.querySelector(selector);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  async function inflate(text) {
    const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function value(layer, code) {
    if (layer.clear) return code === 0 ? null : layer.low + (code - 1) / 254 * (layer.high - layer.low);
    return layer.low + code / 255 * (layer.high - layer.low);
  }

  // Colour of every code of a layer in a window: 256 x RGB.
  function lookup(layer, low, high, name) {
    const table = new Uint8Array(768);
    for (let code = 0; code < 256; code++) {
      const v = value(layer, code);
      const share = v === null ? 0 : Math.min(1, Math.max(0, (v - low) / (high - low)));
      const step = Math.round(share * 255);
      for (let c = 0; c < 3; c++) table[3 * code + c] = name ? colours[name][3 * step + c] : step;
    }
    return table;
  }

  const view = () => data.views[state.view];
  const isEdge = () => view().colours === null;
  const belowName = () => isEdge() ? view().below : state.below;

  function tables() {
    const window = view().windows[state.window], name = belowName(), below = layers[name];
    const top = layers[view().top];
    let belowTable = null;
    if (below) {
      const [low, high] = isEdge() ? [window.low, window.high] : [below.low, below.high];
      belowTable = lookup(below, low, high, below.clear ? "inferno" : null);
    }
    return { below, belowTable, top, topTable: isEdge() ? null : lookup(top, window.low, window.high, view().colours) };
  }

  function paint(plane, canvas, t) {
    const size = data.shape, w = size[plane.across], h = size[plane.up];
    const picture = new ImageData(w, h), strides = [1, nx, nx * ny];
    const start = state.at[plane.normal] * strides[plane.normal];
    for (let row = 0; row < h; row++) {
      for (let column = 0; column < w; column++) {
        const index = start + (w - 1 - column) * strides[plane.across] + (h - 1 - row) * strides[plane.up];
        const at = 4 * (row * w + column);
        const code = t.topTable || edge(t.top.codes, index, strides, plane) ? t.top.codes[index] : 0;
        const under = t.below ? 3 * t.below.codes[index] : -1;
        const shown = under >= 0 && !(t.below.clear && under === 0);
        for (let c = 0; c < 3; c++) {
          let colour = shown ? t.belowTable[under + c] : 0;
          if (code !== 0) {
            const over = t.topTable ? t.topTable[3 * code + c] : EDGE[c];
            colour = state.opacity * over + (1 - state.opacity) * colour;
          }
          picture.data[at + c] = colour;
        }
        picture.data[at + 3] = 255;
      }
    }
    const small = document.createElement("canvas");
    small.width = w; small.height = h;
    small.getContext("2d").putImageData(picture, 0, 0);
    canvas.width = Math.round(w * data.spacing[plane.across] * PIXELS_PER_MM);
    canvas.height = Math.round(h * data.spacing[plane.up] * PIXELS_PER_MM);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
    if (state.cross) cross(plane, canvas, pen);
    write(plane, canvas, pen);
  }

  // Whether a voxel is inside and one beside it in the plane is not.
  function edge(codes, index, strides, plane) {
    if (codes[index] === 0) return false;
    const across = strides[plane.across], up = strides[plane.up];
    return !(codes[index - across] && codes[index + across] && codes[index - up] && codes[index + up]);
  }

  function cross(plane, canvas, pen) {
    const w = data.shape[plane.across], h = data.shape[plane.up];
    const x = (w - state.at[plane.across] - 0.5) / w * canvas.width;
    const y = (h - state.at[plane.up] - 0.5) / h * canvas.height;
    pen.strokeStyle = "rgba(255, 255, 255, 0.65)";
    pen.lineWidth = 1.5;
    pen.beginPath();
    for (const [a, b, c, d] of [[x, 0, x, y - 12], [x, y + 12, x, canvas.height], [0, y, x - 12, y], [x + 12, y, canvas.width, y]]) {
      pen.moveTo(a, b);
      pen.lineTo(c, d);
    }
    pen.stroke();
  }

  // The words are drawn into the picture, so that they stay with it wherever it is copied to.
  function write(plane, canvas, pen) {
    const size = Math.max(14, canvas.width / 26);
    pen.font = `bold ${size}px sans-serif`;
    pen.textBaseline = "top";
    pen.lineWidth = 4;
    pen.strokeStyle = "#000";
    pen.fillStyle = "#fff";
    for (const [letter, align, x] of [[plane.marks[0], "left", 6], [plane.marks[1], "right", canvas.width - 6]]) {
      pen.textAlign = align;
      pen.strokeText(letter, x, 6);
      pen.fillText(letter, x, 6);
    }
    const words = view().synthetic ? data.banner : view().banner;
    if (!words) return;
    const width = pen.measureText(words).width + 12;
    pen.fillStyle = view().synthetic ? "#b00020" : "#12324f";
    pen.fillRect((canvas.width - width) / 2, canvas.height - size - 12, width, size + 8);
    pen.fillStyle = "#fff";
    pen.textAlign = "center";
    pen.fillText(words, canvas.width / 2, canvas.height - size - 7);
  }

  function draw() {
    const t = tables();
    for (const [name, plane] of Object.entries(planes)) {
      paint(plane, find(`canvas[data-plane="${name}"]`), t);
      find(`input[data-slice="${name}"]`).value = state.at[plane.normal];
    }
    bar(t);
    readout();
    root.dataset.at = state.at.join(" ");
  }

  function bar(t) {
    const window = view().windows[state.window], layer = isEdge() ? t.below : t.top;
    const name = isEdge() ? (layer.clear ? "inferno" : null) : view().colours;
    const pen = find("#bar").getContext("2d");
    for (let step = 0; step < 256; step++) {
      const rgb = name ? [0, 1, 2].map((c) => colours[name][3 * step + c]) : [step, step, step];
      pen.fillStyle = `rgb(${rgb})`;
      pen.fillRect(step, 0, 1, 12);
    }
    const rounding = 0.005 * (window.high - window.low);  // windows are rounded to the digits that are shown
    end("#bar-low", layer.low < window.low - rounding ? "< " : "", window.low, "lower");
    end("#bar-high", layer.high > window.high + rounding ? "> " : "", window.high, "higher");
    find("#bar-units").textContent = layer.units;
  }

  // A number at an end of the colour bar, with a mark where voxels of the layer lie beyond it.
  function end(selector, mark, number, words) {
    const text = find(selector);
    text.textContent = mark + number;
    text.title = mark ? `Some voxels are ${words} and have the colour of this end.` : "";
  }

  function readout() {
    const [x, y, z] = state.at, index = x + nx * (y + ny * z), words = [];
    const mm = data.affine.slice(0, 3).map((row) => row[0] * x + row[1] * y + row[2] * z + row[3]);
    words.push(`R ${mm[0].toFixed(1)}, A ${mm[1].toFixed(1)}, S ${mm[2].toFixed(1)} mm`);
    const nothing = layers.pet.codes[index] === 0 ? "outside the brain" : "not known here";
    for (const layer of Object.values(layers)) {
      if (!layer.clear || layer.low === layer.high) continue;  // no MRI, which has no unit, and no edge
      const v = value(layer, layer.codes[index]);
      words.push(`${layer.title}: ${v === null ? nothing : `${v.toFixed(2)} ${layer.units}`}`);
    }
    find("#readout").textContent = words.join("   |   ");
  }

  function choose(number) {
    state.view = number;
    state.window = 0;
    root.dataset.view = view().title;
    for (const tab of root.querySelectorAll('[role="tab"]')) {
      tab.setAttribute("aria-selected", String(Number(tab.dataset.view) === number));
    }
    find("#caption").textContent = view().caption;
    find("#below").disabled = isEdge();
    const group = find("#windows");
    group.replaceChildren(...view().windows.map((window, n) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.window = n;
      button.textContent = `${window.name} ${window.low} to ${window.high}`;
      button.addEventListener("click", () => windowed(n));
      return button;
    }));
    windowed(0);
  }

  function windowed(number) {
    state.window = number;
    for (const button of find("#windows").children) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.window) === number));
    }
    draw();
  }

  function move(axis, to) {
    state.at[axis] = Math.min(data.shape[axis] - 1, Math.max(0, to));
  }

  function follow(plane, canvas, event) {
    const box = canvas.getBoundingClientRect(), w = data.shape[plane.across], h = data.shape[plane.up];
    move(plane.across, w - 1 - Math.floor((event.clientX - box.left) / box.width * w));
    move(plane.up, h - 1 - Math.floor((event.clientY - box.top) / box.height * h));
    draw();
  }

  function listen() {
    for (const tab of root.querySelectorAll('[role="tab"]')) {
      tab.addEventListener("click", () => choose(Number(tab.dataset.view)));
    }
    find("#opacity").addEventListener("input", (event) => { state.opacity = event.target.value / 100; draw(); });
    find("#below").addEventListener("change", (event) => { state.below = event.target.value; draw(); });
    find("#cross").addEventListener("change", (event) => { state.cross = event.target.checked; draw(); });
    for (const [name, plane] of Object.entries(planes)) {
      const canvas = find(`canvas[data-plane="${name}"]`), slider = find(`input[data-slice="${name}"]`);
      slider.max = data.shape[plane.normal] - 1;
      slider.addEventListener("input", () => { move(plane.normal, Number(slider.value)); draw(); });
      canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); follow(plane, canvas, event); });
      canvas.addEventListener("pointermove", (event) => { if (event.buttons & 1) follow(plane, canvas, event); });
      canvas.addEventListener("wheel", (event) => {
        event.preventDefault();
        move(plane.normal, state.at[plane.normal] + (event.deltaY < 0 ? 1 : -1));
        draw();
      }, { passive: false });
      canvas.addEventListener("keydown", (event) => {
        const step = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        move(plane.normal, state.at[plane.normal] + step);
        draw();
      });
    }
  }

  async function start() {
    for (const [name, text] of Object.entries(data.colours)) colours[name] = bytes(text);
    for (const [name, layer] of Object.entries(data.layers)) {
      layers[name] = Object.assign({}, layer, { codes: await inflate(layer.voxels) });
      delete layer.voxels;
      if (layers[name].codes.length !== nx * ny * nz) throw new Error(`${name}: damaged`);
    }
    listen();
    choose(0);
    root.dataset.ready = "yes";
  }

  start().catch((error) => {
    find("#caption").textContent = `This browser cannot show the pictures (${error.message}); relapet report --pdf makes a page for any viewer of PDF.`;
    root.dataset.ready = "failed";
  });
})();
