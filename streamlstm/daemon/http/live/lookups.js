// What is asked of the daemon beside the events: each answer is JSON, and bounded on its side.

const RETRY_MS = 1000; // where it says that it is busy

async function ask(path, query) {
  for (;;) {
    const answer = await fetch(`${path}?${new URLSearchParams(query)}`);
    if (answer.status !== 503) return answer;
    await new Promise((again) => setTimeout(again, RETRY_MS));
  }
}

export async function fetchStreams() {
  return (await fetch("streams")).json();
}

// Series to choose from: those that hold a text, or the newest ones.
export async function fetchNames(stream, text = "") {
  const answer = await ask("series", { stream, text });
  return answer.ok ? answer.json() : [];
}

// {columns, above, points, beside, before}: values from before an entry.
export async function fetchOlder(stream, series, before) {
  const answer = await ask("history", { stream, series, before });
  return answer.ok ? answer.json() : null;
}

// {kept, letters}: the newest first.
export async function fetchDead(stream) {
  const answer = await ask("dead", { stream });
  return answer.ok ? answer.json() : { kept: 0, letters: [] };
}

// {forecast, held}, or {error} in words; null where forecasts are turned off, or others are asking.
export async function fetchAhead(stream, series, steps, spacing) {
  const query = { stream, series, steps, future: "hold", spacing: `${Math.max(1, Math.round(spacing))}ms` };
  const answer = await fetch(`forecast?${new URLSearchParams(query)}`);
  const told = answer.headers.get("Content-Type") === "application/json";
  return told && answer.status !== 503 ? answer.json() : null;
}
