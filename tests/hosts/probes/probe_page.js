// Runs in the explorer's page: draws what test_conformance.py asks for, with the page's own modules.
async (request) => {
  const ort = await import(new URL("vendor/ort.wasm.min.mjs", location.href));
  const { Bundle } = await import(new URL("bundle.js", location.href));
  const { Model, ORT_VERSION } = await import(new URL("model.js", location.href));
  const { toImageData } = await import(new URL("pixels.js", location.href));
  const hex = (data) =>
    [...new Uint8Array(data.buffer, data.byteOffset, data.byteLength)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

  const model = await Model.open(await Bundle.fromAddress("bundle/"));
  const sampler = await ort.InferenceSession.create(Uint8Array.from(atob(request.bytes), (c) => c.charCodeAt(0)));
  const indices = request.indices.map(BigInt);
  const answer = { version: ORT_VERSION, graph: "", own: "", images: "", decoded: "" };
  for (const seed of request.seeds.map(BigInt)) {
    const found = await sampler.run({
      seed: new ort.Tensor("int64", [seed], []),
      index: new ort.Tensor("int64", indices, [indices.length]),
      temperature: new ort.Tensor("float32", [1], []),
      ...(request.labels ? { label: new ort.Tensor("int64", request.labels.map(BigInt), [indices.length]) } : {}),
    });
    answer.graph += hex(found[request.latents].data);
    answer.images += hex(found.image.data);
    const rows = indices.flatMap((index, i) => [...model.latents(seed, [index], 1, request.labels?.[i])]);
    const z = Float32Array.from(rows);
    answer.own += hex(z);
    const pictures = await model.decode(z);
    for (let i = 0; i < indices.length; i++) {
      const { data } = toImageData(model, pictures, i);
      answer.decoded += hex(data.filter((_, at) => at % 4 < model.channels));
    }
  }
  const times = [];
  for (let i = 0; i < 220; i++) {
    const start = performance.now();
    toImageData(model, await model.decode(model.latents(0n, [BigInt(i)])));
    if (i >= 20) times.push(performance.now() - start);
  }
  answer.ms = times.sort((a, b) => a - b)[100];
  return answer;
}
