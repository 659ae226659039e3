/** Converts pixels between the graphs' arrays, canvases and files. */

import { fit, middleCrop, toChannels } from "./resample.js";

const MOST_PIXELS = 2 ** 26; // largest image file, as in runtime/images/decode.py

/** A value in [0, 1] as a grey level 0 … 255: 255 · x in float32, rounded half to even, clipped. */
export function toLevel(value) {
  const scaled = Math.fround(value * 255);
  const floor = Math.floor(scaled);
  const rest = scaled - floor;
  const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
  return Math.max(0, Math.min(255, rounded));
}

/** Picture `at` of Float32Array (N · C · H · W) as ImageData. */
export function toImageData(model, pictures, at = 0) {
  const { width, height, channels, size } = model;
  const out = new ImageData(width, height);
  const plane = width * height;
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) out.data[4 * i + c] = toLevel(pictures[at * size + (channels === 3 ? c : 0) * plane + i]);
    out.data[4 * i + 3] = 255;
  }
  return out;
}

/** Draws a picture into a canvas of the picture's size; CSS scales it for display. */
export function show(canvas, model, pictures, at = 0) {
  if (canvas.width !== model.width || canvas.height !== model.height) {
    canvas.width = model.width;
    canvas.height = model.height;
  }
  canvas.getContext("2d").putImageData(toImageData(model, pictures, at), 0, 0);
}

/** A canvas with one picture. */
export function pictureCanvas(model, pictures, at = 0) {
  const canvas = document.createElement("canvas");
  show(canvas, model, pictures, at);
  return canvas;
}

/** The content of a canvas of the model's size as Float32Array (C · H · W) in [0, 1]. */
export function fromCanvas(model, canvas) {
  const { data } = canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, model.width, model.height);
  return toPicture(model, toChannels(data, model.channels));
}

/**
 * Reads an image file by Pixels, version 1: { picture, canvas, crop }. picture: Float32Array (C · H · W) in [0, 1].
 * canvas: the whole image, upright and opaque. crop: the area of it that the picture shows. Throws if the browser cannot
 * read the file.
 */
export async function fromFile(model, blob) {
  const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Error(`${width}×${height} is over ${MOST_PIXELS} pixels`);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#000"; // transparency is composited onto black
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const levels = toChannels(context.getImageData(0, 0, width, height).data, model.channels);
  const fitted = fit(levels, width, height, model.channels, model.width, model.height);
  return { picture: toPicture(model, fitted), canvas, crop: middleCrop(width, height, model.width, model.height) };
}

/** Levels (H · W · C) as Float32Array (C · H · W) in [0, 1]. */
function toPicture({ channels, width, height, size }, levels) {
  const plane = width * height;
  return Float32Array.from({ length: size }, (_, i) => levels[(i % plane) * channels + Math.floor(i / plane)] / 255);
}

/** Saves canvases as one PNG: a grid with `columns` columns, pixels enlarged by `scale`, gaps of 2 black pixels. */
export async function savePng(name, canvases, columns, scale = 4) {
  const { width, height } = canvases[0];
  const gap = canvases.length > 1 ? 2 : 0;
  const sheet = document.createElement("canvas");
  sheet.width = scale * (columns * (width + gap) + gap);
  sheet.height = scale * (Math.ceil(canvases.length / columns) * (height + gap) + gap);
  const context = sheet.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, sheet.width, sheet.height);
  context.imageSmoothingEnabled = false;
  canvases.forEach((canvas, i) => {
    const [x, y] = [gap + (i % columns) * (width + gap), gap + Math.floor(i / columns) * (height + gap)];
    context.drawImage(canvas, scale * x, scale * y, scale * width, scale * height);
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await new Promise((resolve) => sheet.toBlob(resolve, "image/png")));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
