// BullMQ doing what the bench of jobs does: as many jobs that do nothing, counted one by one, and the
// time from adding one to its start. Prints one line of JSON.
//
//   node bullmq.cjs FOLDER_OF_BULLMQ REDIS_PORT JOBS CONCURRENCY LATENCIES
const [folder, port, jobs, concurrency, latencies] = process.argv.slice(2);
const { Queue, Worker } = require(`${folder}/node_modules/bullmq`);
const connection = { host: process.env.REDIS_HOST ?? "127.0.0.1", port: Number(port), maxRetriesPerRequest: null };
const count = Number(jobs);

const now = () => performance.now();

async function rate() {
  const queue = new Queue("rate", { connection });
  const begin = now();
  for (let first = 0; first < count; first += 1000) {
    const size = Math.min(1000, count - first);
    await queue.addBulk(Array.from({ length: size }, (_, n) => ({ name: "none", data: { n: first + n } })));
  }
  const added = now();
  const seen = new Map();
  const worker = new Worker("rate", async (job) => { seen.set(job.data.n, (seen.get(job.data.n) ?? 0) + 1); }, {
    connection, concurrency: Number(concurrency),
  });
  await new Promise((done) => {
    let completed = 0;
    worker.on("completed", () => { if (++completed === count) done(); });
  });
  const end = now();
  await worker.close();
  await queue.close();
  const twice = [...seen.values()].filter((times) => times !== 1).length;
  return {
    added_per_second: count / ((added - begin) / 1000),
    done_per_second: count / ((end - added) / 1000),
    distinct: seen.size,
    twice,
  };
}

async function pickUp() {
  const queue = new Queue("pick-up", { connection });
  const starts = new Map();
  const worker = new Worker("pick-up", async (job) => { starts.get(job.data.n)(now()); }, { connection });
  await worker.waitUntilReady();
  const times = [];
  for (let n = 0; n < Number(latencies); n++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const started = new Promise((resolve) => starts.set(n, resolve));
    const begin = now();
    await queue.add("none", { n });
    times.push((await started) - begin);
  }
  await worker.close();
  await queue.close();
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.floor((times.length - 1) * share)];
  return { p50_millis: at(0.5), p99_millis: at(0.99) };
}

(async () => {
  console.log(JSON.stringify({ ...(await rate()), ...(await pickUp()) }));
  process.exit(0);
})().catch((error) => { console.error(error); process.exit(1); });
