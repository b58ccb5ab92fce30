// What the pages of an account share: their texts, and what to do after a refusal.

import texts from "./account-texts.js";
import { learn } from "./ui.js";

learn(texts, {
  wrong_password: ["do.password_again"],
  passwords_differ: ["do.password_twice"],
  invalid_request: ["do.correct"],
  not_on_sale: ["do.later"],
  waitlist_full: ["do.later"],
});
