/** The Draw tab: encodes a drawn or opened picture and shows its latents and the reconstruction from their means. */

import { activityOf, mostActiveFirst } from "./explore.js";
import { readGolden } from "./golden.js";
import { Latest } from "./latest.js";
import { fromCanvas, fromFile, pictureCanvas, savePng, show } from "./pixels.js";
import { FARTHEST } from "./state.js";

const INKED = 24; // lowest grey level of a pixel that counts as drawn
const SHOWN = 64; // bars of latents at most

export function draw(app) {
  const board = document.getElementById("board");
  const pen = board.getContext("2d", { willReadFrequently: true });
  const input = document.getElementById("draw-input");
  const output = document.getElementById("draw-output");
  const bars = document.getElementById("draw-latents");
  const centre = document.getElementById("draw-centre");
  const width = document.getElementById("draw-width");
  const file = document.getElementById("draw-file");
  const latest = new Latest(app.fail);
  let owner = null;
  let dark = true; // whether the bundle's test images have dark borders
  let mean = null;
  let last = null;
  let opened = null; // pixels of an opened image, Float32Array (C · H · W): the encoder's input until the board is changed

  board.onpointerdown = (event) => {
    board.setPointerCapture(event.pointerId);
    last = null;
    stroke(event);
  };
  board.onpointermove = (event) => {
    if (!board.hasPointerCapture(event.pointerId)) return;
    for (const point of event.getCoalescedEvents?.() ?? [event]) stroke(point);
  };
  centre.onchange = encode;
  document.getElementById("draw-clear").onclick = clear;
  document.getElementById("draw-open").onclick = () => file.click();
  file.onchange = () => file.files[0] && dropped(file.files[0]);
  document.getElementById("draw-explore").onclick = () => {
    const edits = new Map([...mean].map((value, dim) => [dim, value]));
    app.store.set({ tab: "explore", edits });
  };
  document.getElementById("draw-save").onclick = () => savePng("reconstruction.png", [input, output], 2, 8);

  return { keys: [], render, dropped };

  /** Prepares the board for a model: size, background, and the bundle's test images. */
  async function render() {
    if (owner === app.model) return;
    owner = app.model;
    document.getElementById("draw-none").hidden = owner.bundle.has("encoder");
    document.getElementById("draw-room").hidden = !owner.bundle.has("encoder");
    if (!owner.bundle.has("encoder")) return;
    document.getElementById("draw-color").hidden = owner.channels === 1;
    if (owner.bundle.manifest.files["golden.json"]) await examples();
    clear();
  }

  async function examples() {
    const model = owner;
    const { encoder_image: pictures } = readGolden(await model.bundle.file("golden.json"));
    dark = borderLevel(pictures, model) < 0.2;
    centre.checked = dark && model.channels === 1;
    centre.closest("label").hidden = !dark;
    const row = document.getElementById("draw-examples");
    row.replaceChildren();
    for (let i = 0; i < pictures.length / model.size; i++) {
      const button = document.createElement("button");
      button.className = "tile";
      button.setAttribute("aria-label", `Take test image ${i}`);
      const canvas = pictureCanvas(model, pictures, i);
      button.append(canvas);
      const { width, height } = canvas;
      button.onclick = () => take(pictures.slice(i * model.size, (i + 1) * model.size), canvas, { left: 0, top: 0, width, height });
      row.append(button);
    }
  }

  function clear() {
    pen.fillStyle = dark ? "#000" : "#fff";
    pen.fillRect(0, 0, board.width, board.height);
    board.dataset.empty = "true";
    opened = null;
    encode();
  }

  function stroke(event) {
    const { left, top, width: shown } = board.getBoundingClientRect();
    const scale = board.width / shown;
    const point = [(event.clientX - left) * scale, (event.clientY - top) * scale];
    pen.lineCap = pen.lineJoin = "round";
    pen.lineWidth = Number(width.value);
    pen.strokeStyle = owner.channels === 3 ? document.getElementById("draw-color").value : dark ? "#fff" : "#000";
    pen.beginPath();
    pen.moveTo(...(last ?? point));
    pen.lineTo(...point);
    pen.stroke();
    last = point;
    delete board.dataset.empty;
    opened = null;
    encode();
  }

  /** Uses a picture without centring; the board shows the area `crop` of the canvas `source`. */
  function take(picture, source, crop) {
    centre.checked = false;
    opened = picture;
    pen.imageSmoothingEnabled = source.width > owner.width;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(source, crop.left, crop.top, crop.width, crop.height, 0, 0, board.width, board.height);
    delete board.dataset.empty;
    encode();
  }

  /** Opens an image file. Dark ink on white is inverted if the model was trained on light ink on black. */
  async function dropped(blob) {
    let file;
    try {
      file = await fromFile(owner, blob);
    } catch (error) {
      app.fail(new Error(`${blob.name}: this browser cannot read it as an image (${error.message})`));
      return;
    }
    take(file.picture, file.canvas, file.crop);
    if (dark && owner.channels === 1 && borderLevel(file.picture, owner) > 0.5) {
      opened = null;
      pen.globalCompositeOperation = "difference";
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, board.width, board.height);
      pen.globalCompositeOperation = "source-over";
      centre.checked = true;
      encode();
    }
  }

  function encode() {
    return latest.ask(async () => {
      const model = app.model;
      [input.width, input.height] = [model.width, model.height];
      const context = input.getContext("2d", { willReadFrequently: true });
      context.fillStyle = dark ? "#000" : "#fff";
      context.fillRect(0, 0, model.width, model.height);
      context.imageSmoothingQuality = "high";
      const box = centre.checked && !board.dataset.empty ? inkBox() : [0, 0, board.width, board.height, 0, 0, model.width, model.height];
      context.drawImage(board, ...box);
      const picture = opened !== null && !centre.checked ? opened : fromCanvas(model, input);
      show(input, model, picture);
      const empty = Boolean(board.dataset.empty);
      if (empty) {
        show(output, model, picture); // what the model makes of nothing is no reconstruction
        bars.replaceChildren();
      } else {
        const posterior = await model.encode(picture);
        mean = posterior.mean;
        show(output, model, await model.decode(mean));
        showLatents(posterior, mostActiveFirst(await activityOf(model)));
      }
      for (const id of ["draw-explore", "draw-save"]) document.getElementById(id).disabled = empty;
      document.getElementById("draw-result").dataset.done = empty ? "empty" : "drawn";
    });
  }

  /** The drawing's area on the board and in the picture: 20/28 of its side, centre of mass in the middle, as in MNIST. */
  function inkBox() {
    const { data } = pen.getImageData(0, 0, board.width, board.height);
    let [left, right, top, bottom, weight, sumX, sumY] = [board.width, -1, board.height, -1, 0, 0, 0];
    for (let i = 0; i < data.length; i += 4) {
      const level = Math.max(data[i], data[i + 1], data[i + 2]);
      if (level < INKED) continue;
      const [x, y] = [(i / 4) % board.width, Math.floor(i / 4 / board.width)];
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
      [weight, sumX, sumY] = [weight + level, sumX + level * x, sumY + level * y];
    }
    const { width: w, height: h } = app.model;
    if (right < 0) return [0, 0, board.width, board.height, 0, 0, w, h];
    const scale = ((20 / 28) * Math.min(w, h)) / Math.max(right - left + 1, bottom - top + 1);
    const [x, y] = [w / 2 - scale * (sumX / weight - left), h / 2 - scale * (sumY / weight - top)];
    const [inkWidth, inkHeight] = [right - left + 1, bottom - top + 1];
    return [left, top, inkWidth, inkHeight, x, y, scale * inkWidth, scale * inkHeight];
  }

  function showLatents({ mean, logVar }, order) {
    document.getElementById("draw-which").textContent =
      order.length > SHOWN ? `The first ${SHOWN} of ${order.length}.` : "";
    bars.replaceChildren(
      ...order.slice(0, SHOWN).map((dim) => {
        const value = mean[dim];
        const bar = document.createElement("i");
        const [share, spread] = [value / FARTHEST, Math.exp(0.5 * logVar[dim]) / FARTHEST];
        bar.style.setProperty("--mean", Math.max(-1, Math.min(1, share)).toFixed(3));
        bar.style.setProperty("--spread", Math.min(1, spread).toFixed(3));
        bar.title = `z${dim}: ${value.toFixed(2)} ± ${Math.exp(0.5 * logVar[dim]).toFixed(2)}`;
        return bar;
      }),
    );
  }
}

/** Mean level of the border pixels of pictures Float32Array (N · C · H · W), in [0, 1]. */
function borderLevel(pictures, { width, height }) {
  let [sum, count] = [0, 0];
  pictures.forEach((value, i) => {
    const [x, y] = [i % width, Math.floor(i / width) % height];
    if (x === 0 || y === 0 || x === width - 1 || y === height - 1) [sum, count] = [sum + value, count + 1];
  });
  return sum / count;
}
