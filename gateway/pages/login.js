// Signing in and up. Without this script the forms do the same by themselves.

import { noteSignedIn, post } from "./api.js";
import { busy, byId } from "./ui.js";

// A path of this site; what only looks like one leads to the list.
const asked = new URLSearchParams(location.search).get("next") ?? "/";
const next = /^\/(?![/\\])[\w\-/?=&.%]*$/.test(asked) ? asked : "/";

function take(form, path, body) {
  form.elements.next.value = next;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(form.querySelector("button"), async () => {
      noteSignedIn(false);
      await post(path, body(form.elements));
      noteSignedIn(true);
      location.assign(next);
    });
  });
}

take(byId("log-in"), "/auth/login", ({ email, password }) => ({ userId: email.value.trim(), password: password.value }));
take(byId("sign-up"), "/auth/signup", ({ username, email, password }) =>
  ({ username: username.value.trim(), email: email.value.trim(), password: password.value }));
