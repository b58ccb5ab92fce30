// What the operators' pages share: their texts, what to do after a refusal, a question before anything is done.

import texts from "./admin-texts.js";
import { count, el, learn, moment, t } from "./ui.js";

/** A hall may have a thousand sections. */
const LISTED_AT_MOST = 10;
const TIME = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/;

const toSignIn = () => `/login?next=${encodeURIComponent(location.pathname)}`;

learn(texts, {
  unauthenticated: ["do.sign_in_admin", toSignIn],
  invalid_session: ["do.sign_in_admin", toSignIn],
  forbidden: ["do.sign_in_admin", toSignIn],
  invalid_request: ["do.mend"],
  not_found: ["do.all_sales", () => "/admin/"],
  settings_changed: ["do.look_again"],
  section_exists: ["do.mend"],
  record_not_configured: ["do.record"],
  same: ["do.mend"],
});

/** What there is to know of a setting or a fact, as people read it. */
export function value(of) {
  if (of === null || of === undefined || of === "") return "–";
  if (typeof of === "boolean") return t(of ? "word.yes" : "word.no");
  if (Array.isArray(of)) return `${of.slice(0, LISTED_AT_MOST).map(value).join("; ")}${of.length > LISTED_AT_MOST ? t("word.more", { n: count(of.length - LISTED_AT_MOST) }) : ""}`;
  if (typeof of === "object") return Object.values(of).map(value).join(", ");
  if (typeof of === "string" && TIME.test(of)) return moment(of);
  return typeof of === "number" ? count(of) : of;
}

export const known = (name, otherwise) => (texts[name] === undefined ? otherwise : t(name));

/** What differs between two states, a line each. */
export function differences(before, after) {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  return names.filter((name) => JSON.stringify(before?.[name]) !== JSON.stringify(after?.[name])).map((name) => {
    const label = known(`field.${name}`, name);
    return before ? t("record.change", { name: label, before: value(before[name]), after: value(after?.[name]) })
      : t("record.fact", { name: label, after: value(after[name]) });
  });
}

/** Asks whether to go on, and says what will happen; resolves to the answer. */
export function sure(title, sentences, lines, go) {
  return new Promise((resolve) => {
    const yes = el("button", { type: "button" }, go);
    const no = el("button", { type: "button", className: "quiet" }, t("word.cancel"));
    const list = lines.length ? el("ul", {}, ...lines.map((line) => el("li", {}, line))) : null;
    const dialog = el("dialog", { data: { "aria-labelledby": "sure-title" } }, el("h2", { id: "sure-title" }, title),
      ...sentences.map((sentence) => el("p", {}, sentence)), list, el("p", { className: "row" }, no, yes));
    yes.addEventListener("click", () => dialog.close("yes"));
    no.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    // The first button has the focus, which is the one that does nothing.
    dialog.showModal();
  });
}
