// node probe.mjs NODE_EXAMPLE WEB_SRC REQUEST: draws in Node what test_conformance.py asks for and prints it as JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [example, web, requestFile] = process.argv.slice(2);
const ort = createRequire(join(example, "package.json"))("onnxruntime-node");
const { Prior } = await import(pathToFileURL(join(web, "prior.js")));
const { Noise } = await import(pathToFileURL(join(web, "noise.js")));
const { sampler, table, latents: latentName, latentDim, seeds, indices, labels, prior: priorFile } = JSON.parse(readFileSync(requestFile, "utf8"));

const bytes = readFileSync(table);
const noise = new Noise(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const prior = priorFile && new Prior(readFileSync(priorFile, "utf8"), latentDim);
const session = await ort.InferenceSession.create(sampler);
const draw = (seed, index, label) =>
  session.run({
    seed: new ort.Tensor("int64", [BigInt(seed)], []),
    index: new ort.Tensor("int64", index.map(BigInt), [index.length]),
    temperature: new ort.Tensor("float32", [1], []),
    ...(labels ? { label: new ort.Tensor("int64", label.map(BigInt), [label.length]) } : {}),
  });
const hex = (data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("hex");

const answer = { version: `onnxruntime-node ${ort.env.versions.node}, Node ${process.versions.node}`, graph: "", own: "", images: "" };
for (const seed of seeds) {
  const found = await draw(seed, indices, labels);
  answer.graph += hex(found[latentName].data);
  answer.images += hex(found.image.data);
  indices.forEach((index, i) => {
    const z = noise.latents(BigInt(seed), [BigInt(index)], latentDim);
    answer.own += hex(prior ? prior.move(z, BigInt(seed), [BigInt(index)], labels?.[i] ?? -1) : z);
  });
}
const times = [];
for (let i = 0; i < 220; i++) {
  const start = performance.now();
  await draw("0", [`${i}`], [-1]);
  if (i >= 20) times.push(performance.now() - start);
}
answer.ms = times.sort((a, b) => a - b)[100];
console.log(JSON.stringify(answer));
