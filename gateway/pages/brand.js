// What a concert's organiser gives its pages: a colour, a logo, a message.

import { language } from "./api.js";
import { byId, el, t } from "./ui.js";

/** The gateway makes a stylesheet of any colour, in which text can be read whichever it is. Null: the usual one. */
export function paint(colour) {
  byId("colour")?.remove();
  if (colour) document.head.append(el("link", { id: "colour", rel: "stylesheet", href: new URL(`colour-${colour.slice(1)}.css`, import.meta.url) }));
}

export function dress({ branding }) {
  const { colour, logo, message } = branding ?? {};
  paint(colour);
  for (const id of ["logo", "message"]) byId(id)?.remove();
  if (logo) byId("name").before(el("img", { id: "logo", className: "logo", src: logo.url, alt: "", width: logo.width, height: logo.height }));
  if (message) byId("problem").before(el("p", { id: "message", className: "notice" }, el("strong", {}, t("brand.from")), ` ${message[language]}`));
}
