// A line for each test when it begins and when it ends, and under one that failed what it says.

const LINES_AT_MOST = 30;
const seconds = ({ duration_ms: time }) => `(${(time / 1000).toFixed(1)} s)`;

export default async function* report(events) {
  for await (const { type, data } of events) {
    if (type === "test:dequeue") yield `▶ ${data.name}\n`;
    if (type === "test:pass") yield `✓ ${data.name} ${seconds(data.details)}\n`;
    if (type === "test:stdout" || type === "test:stderr") yield data.message;
    if (type !== "test:fail") continue;
    const { cause } = data.details.error;
    const why = String(cause?.stack ?? cause ?? data.details.error.message);
    yield `✗ ${data.name} ${seconds(data.details)}\n${why.split("\n").slice(0, LINES_AT_MOST).join("\n")}\n`;
  }
}
