// The page of a patient: what that of a study has, and the list of studies with what can be done with several.

import "./resource.js";
import { Selection } from "./selection.js";
import { ago } from "./words.js";

const results = document.getElementById("results");
const bar = document.getElementById("selection");

if (bar) new Selection(bar, results, () => location.reload()).mark();

for (const time of results.querySelectorAll("time")) {
  const at = new Date(time.dateTime);
  time.title = at.toLocaleString();
  time.textContent = ago(at);
}
