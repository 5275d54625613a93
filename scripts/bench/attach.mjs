/** Times, in turn, what a shell does to attach to a daemon and call it once, and a bare socket that does the same call. */
import { connect } from "node:net";
import { attachOrSpawn } from "../../ipc/node/dist/src/electron/index.js";

const [dataDir, socket, rounds] = process.argv.slice(2);
const QUESTION = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "daemon.status", params: {} });

async function attach() {
  const begun = performance.now();
  const daemon = await attachOrSpawn({ dataDir, command: ["nothing-to-start"] });
  await daemon.client.daemon.status();
  const taken = performance.now() - begun;
  await daemon.close();
  return taken;
}

async function bare() {
  const begun = performance.now();
  const open = connect(socket);
  open.write(`Content-Length: ${Buffer.byteLength(QUESTION)}\r\n\r\n${QUESTION}`);
  let answer = "";
  for await (const piece of open.setEncoding("utf8")) {
    answer += piece;
    const [head, body] = answer.split("\r\n\r\n", 2);
    if (body !== undefined && Buffer.byteLength(body) >= Number(/Content-Length: (\d+)/i.exec(head)[1])) break;
  }
  JSON.parse(answer.slice(answer.indexOf("\r\n\r\n")));
  return performance.now() - begun;
}

const sides = [[], []];
for (let round = 0; round < Number(rounds); round += 1) {
  for (const [index, measure] of [attach, bare].entries()) sides[index].push(await measure());
}
const median = (values) => values.slice(10).sort((one, other) => one - other)[Math.floor((values.length - 10) / 2)];
console.log(JSON.stringify(sides.map(median)));
