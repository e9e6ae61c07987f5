// A session from Node, with nothing but the shipped protos: node client.js PROTOS ADDRESS. Prints the results as JSON.
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const [protos, address] = process.argv.slice(2);
const options = { includeDirs: [protos], longs: Number, enums: String, defaults: true };
const definition = protoLoader.loadSync("moodstream/v1/service.proto", options);
const { SentimentService } = grpc.loadPackageDefinition(definition).moodstream.v1;
const client = new SentimentService(address, grpc.credentials.createInsecure());

const at = (ms) => ({ seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1e6 });
const hum = (ms) => {
  const samples = new Int16Array(16 * ms);
  samples.forEach((_, index) => (samples[index] = Math.trunc(6000 * Math.sin(index / 9))));
  return Buffer.from(samples.buffer);
};

const call = client.StreamSentiment();
const told = [];
call.on("data", (response) => told.push(response));
call.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
call.on("end", () => {
  const results = told.filter((one) => one.result).map((one) => one.result);
  const closed = told.at(-1).closed;
  console.log(JSON.stringify({ started: Boolean(told[0].started), results, closed }));
  client.close();
});

const audio = { encoding: "AUDIO_ENCODING_PCM_S16LE", sampleRateHertz: 16000 };
call.write({ config: { audio, text: {} } });
call.write({ text: { sequence: 0, startOffset: at(200), duration: at(700), text: "What a wonderful day" } });
for (let sequence = 0; sequence < 4; sequence += 1) {
  call.write({ audio: { sequence, startOffset: at(500 * sequence), data: hum(500) } });
}
call.write({ endOfUtterance: { offset: at(1000) } });
call.write({ audio: { sequence: 0, startOffset: at(0), data: Buffer.from("odd") } });
call.write({ close: {} });
call.end();
