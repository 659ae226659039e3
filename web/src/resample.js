/**
 * Pixels, version 1 (runtime/images/decode.py), for images decoded by the browser: luma, centre crop, Lanczos. The
 * arithmetic is Pillow's, including its fixed-point weights, so the results are bit-identical for the same input.
 */

const LOBES = 3; // lobes of the Lanczos filter
const PRECISION_BITS = 22; // precision of Pillow's weights for 8-bit channels

/** Opaque RGBA levels (H · W · 4) → levels (H · W · channels); gray is ITU-R 601-2 luma, as Pillow's mode L. */
export function toChannels(rgba, channels) {
  const count = rgba.length / 4;
  const levels = new Uint8Array(count * channels);
  for (let i = 0; i < count; i++) {
    const [red, green, blue] = [rgba[4 * i], rgba[4 * i + 1], rgba[4 * i + 2]];
    if (channels === 1) levels[i] = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16;
    else levels.set([red, green, blue], 3 * i);
  }
  return levels;
}

/** The largest centred box with the target's proportions in an image of width × height, in pixels, not rounded. */
export function middleCrop(width, height, targetWidth, targetHeight) {
  const wide = width * targetHeight > height * targetWidth;
  const cropWidth = wide ? (targetWidth * height) / targetHeight : width;
  const cropHeight = wide ? height : (targetHeight * width) / targetWidth;
  return { left: (width - cropWidth) / 2, top: (height - cropHeight) / 2, width: cropWidth, height: cropHeight };
}

/** Crops to the centre and resamples: levels (height · width · channels) → (targetHeight · targetWidth · channels). */
export function fit(levels, width, height, channels, targetWidth, targetHeight) {
  const crop = middleCrop(width, height, targetWidth, targetHeight);
  const rows = resample(levels, height, width, channels, crop.left, crop.width, targetWidth);
  return resample(rows, 1, height, targetWidth * channels, crop.top, crop.height, targetHeight);
}

/** Resamples the middle axis of levels (outer · size · inner), from `start` to `start + length`, to `target` values. */
function resample(levels, outer, size, inner, start, length, target) {
  if (start === 0 && length === size && size === target) return levels;
  const out = new Uint8Array(outer * target * inner);
  weights(size, start, length, target).forEach(([first, row], to) => {
    for (let o = 0; o < outer; o++)
      for (let i = 0; i < inner; i++) {
        let sum = 2 ** (PRECISION_BITS - 1);
        for (let k = 0; k < row.length; k++) sum += row[k] * levels[(o * size + first + k) * inner + i];
        out[(o * target + to) * inner + i] = Math.max(0, Math.min(255, Math.floor(sum / 2 ** PRECISION_BITS)));
      }
  });
  return out;
}

/** For each target value: the index of its first source value, and the integer weights from there on. */
function weights(size, start, length, target) {
  const low = Math.fround(start); // Pillow keeps its box in float32
  const scale = Math.fround(Math.fround(start + length) - low) / target;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: target }, (_, to) => {
    const centre = low + (to + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - LOBES * stretch + 0.5));
    const end = Math.min(size, Math.trunc(centre + LOBES * stretch + 0.5));
    const row = Array.from({ length: end - first }, (_, k) => lanczos((first + k - centre + 0.5) * (1 / stretch)));
    const sum = row.reduce((total, weight) => total + weight, 0);
    return [first, row.map((weight) => Math.trunc((weight / sum) * 2 ** PRECISION_BITS + Math.sign(weight) * 0.5))];
  });
}

function lanczos(x) {
  return -LOBES <= x && x < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}
