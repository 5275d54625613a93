/** The page: projects, ready tasks, a live run and the event feed, all over the bridge. */
import { connectPage, CoderLocalError, type PageClient, type WindowState } from "@coder-local/client/electron/renderer";

const FEED_LENGTH = 30;
/** What the button runs; its output is followed live. */
const STEPS = [
  { key: "version", kind: "command", input: { run: ["git", "--version"] } },
  { key: "pause", kind: "timer", input: { duration: "PT0.3S" }, needs: ["version"] },
  { key: "guides", kind: "command", input: { run: ["git", "help", "-g"] }, needs: ["pause"] },
];

function element<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  return document.getElementById(id) as Kind;
}

function line(text: string, small = ""): HTMLLIElement {
  const item = document.createElement("li");
  item.textContent = text;
  if (small !== "") {
    const aside = document.createElement("small");
    aside.textContent = ` ${small}`;
    item.append(aside);
  }
  return item;
}

/** Do something and show what stands against it. */
async function show(run: () => Promise<unknown>): Promise<void> {
  element("error").textContent = "";
  try {
    await run();
  } catch (error) {
    const hint = error instanceof CoderLocalError && error.hint !== undefined ? ` (${error.hint})` : "";
    element("error").textContent = `${error instanceof Error ? error.message : String(error)}${hint}`;
  }
}

function onSubmit(id: string, run: (text: string) => Promise<unknown>): void {
  const form = element<HTMLFormElement>(id);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const input = form.querySelector("input") as HTMLInputElement;
    void show(async () => {
      await run(input.value);
      input.value = "";
    });
  });
}

function showState(state: WindowState): void {
  const shown = element("state");
  shown.dataset["name"] = state.name;
  shown.textContent = stateText(state);
  element("retry").hidden = state.name !== "failed" && state.name !== "stopped";
  const diagnostics = element("diagnostics");
  diagnostics.hidden = state.name !== "failed";
  diagnostics.textContent = state.name === "failed" ? `${state.hint ?? ""}\n${state.diagnostics}` : "";
}

function stateText(state: WindowState): string {
  if (state.name === "failed") return `failed: ${state.reason}`;
  if (state.name === "migrating") return state.message;
  if (state.name === "restarting") return `restarting (try ${state.attempt})`;
  return state.name === "reconnecting" && state.next !== undefined ? `updating to ${state.next}` : state.name;
}

async function showProjects({ api }: PageClient): Promise<void> {
  const { items } = await api.planning.projects.list({ limit: 100 });
  element("projects").replaceChildren(...items.map(({ key, name }) => line(name, key)));
}

async function showTasks(client: PageClient): Promise<void> {
  const { items } = await client.api.planning.ready({ limit: 20 });
  element("tasks").replaceChildren(...items.map(({ id, key, title }) => {
    const item = line("", key);
    const box = document.createElement("input");
    box.type = "checkbox";
    box.addEventListener("change", () => void show(() => client.api.planning.tasks.finish({ id })));
    const label = document.createElement("label");
    label.append(box, ` ${title}`);
    item.prepend(label);
    return item;
  }));
}

async function run({ api }: PageClient, folder: string): Promise<void> {
  const { run: started } = await api.execution.start({ name: "The steps", folder, steps: STEPS });
  const steps = new Map(STEPS.map(({ key }) => [key, "pending"]));
  const draw = (): void => element("steps").replaceChildren(...[...steps].map(([key, status]) => line(key, status)));
  element("output").textContent = "";
  draw();
  for await (const said of api.execution.runs.follow({ id: started.id })) {
    if (said.type === "output") element("output").append(said.text ?? "");
    if (said.type === "step" && said.step !== null) steps.set(said.step, said.status ?? "");
    if (said.type === "run") element("steps").dataset["run"] = said.status ?? "";
    draw();
  }
}

/** Show each event, and with it what it changed. */
async function follow(client: PageClient): Promise<void> {
  for await (const event of client.events({ types: ["planning.*", "execution.*"] })) {
    const feed = element("feed");
    feed.prepend("reason" in event ? line("reset", String(event.reason)) : line(event.type, "subject" in event ? event.subject ?? "" : ""));
    while (feed.children.length > FEED_LENGTH) feed.lastElementChild?.remove();
    if (event.type === "reset" || event.type.startsWith("planning.")) await show(() => Promise.all([showProjects(client), showTasks(client)]));
  }
}

async function main(): Promise<void> {
  const client = await connectPage();
  client.onState(showState);
  element("retry").addEventListener("click", () => void show(() => client.retry()));
  onSubmit("new-project", (name) => client.api.planning.projects.create({ name, key: name.replace(/[^a-z]/gi, "").slice(0, 6).toUpperCase() }));
  onSubmit("new-task", (title) => client.api.planning.tasks.create({ title }));
  element("undo").addEventListener("click", () => void show(() => client.api.changes.undo()));
  const folder = element("run").querySelector("input") as HTMLInputElement;
  folder.value = new URLSearchParams(location.search).get("folder") ?? "";
  element("run").addEventListener("submit", (event) => {
    event.preventDefault();
    void show(() => run(client, folder.value));
  });
  await show(() => Promise.all([showProjects(client), showTasks(client)]));
  await follow(client);
}

void show(main);
