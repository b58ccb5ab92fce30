// All tests, in this order, in one process with one browser: the last one kills a gateway.

import { after } from "node:test";

import { close } from "./browser.mjs";

await import("./visiting.mjs");
await import("./buying.mjs");
await import("./accounts.mjs");
await import("./waiting.mjs");
await import("./operating.mjs");
await import("./branding.mjs");
await import("./steering.mjs");
await import("./failing.mjs");

after(close);
