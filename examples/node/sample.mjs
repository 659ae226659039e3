// Seed to PNG with onnxruntime-node: node sample.mjs BUNDLE SEED INDEX OUTPUT.png [CLASS]
// CLASS is the number of a class, for bundles that can draw classes; without one, any.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32, deflateSync } from "node:zlib";
import * as ort from "onnxruntime-node";

const [bundle, seed, index, output, label = "-1"] = process.argv.slice(2);
const sampler = await ort.InferenceSession.create(join(bundle, "sampler.onnx"));
const labelled = sampler.inputNames.includes("label");
if (label !== "-1" && !labelled) throw new Error(`${bundle}: draws no classes; leave CLASS out`);
const { image } = await sampler.run({
  seed: new ort.Tensor("int64", [BigInt(seed)], []),
  index: new ort.Tensor("int64", [BigInt(index)], [1]), // any number of them, for as many images
  temperature: new ort.Tensor("float32", [1], []),
  ...(labelled ? { label: new ort.Tensor("int64", [BigInt(label)], [1]) } : {}),
});
writeFileSync(output, png(image.data, image.dims.slice(1)));

/** uint8 pixels, row by row, as a PNG; shape: [height, width, channels], 1 channel (gray) or 3 (RGB). */
function png(pixels, [height, width, channels]) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, channels === 1 ? 0 : 2, 0, 0, 0], 8); // 8 bits, gray or RGB
  const rows = Buffer.alloc(height * (1 + width * channels)); // each row begins with its filter, 0 for none
  for (let y = 0, size = width * channels; y < height; y++)
    rows.set(pixels.subarray(y * size, (y + 1) * size), y * (1 + size) + 1);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.of())]);
}

function chunk(type, data) {
  const framed = Buffer.alloc(12 + data.length);
  framed.writeUInt32BE(data.length, 0);
  framed.write(type, 4, "latin1");
  framed.set(data, 8);
  framed.writeUInt32BE(crc32(framed.subarray(4, 8 + data.length)), 8 + data.length);
  return framed;
}
