// Takes what the address has behind its # into the form, and out of the address and the history.
"use strict";
const secret = location.hash.slice(1);
if (secret) {
  const field = document.getElementById("secret");
  field.value = secret;
  field.hidden = true;
  document.querySelector("label[for=secret]").hidden = true;
  history.replaceState(null, "", location.pathname);
}
