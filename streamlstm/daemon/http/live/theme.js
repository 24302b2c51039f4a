// Light or dark: as the system has it, or as somebody chose on this page before.

const KEPT = "streamlstm-theme";

function kept() {
  try {
    return localStorage.getItem(KEPT) || "system";
  } catch {
    return "system"; // a browser that keeps nothing
  }
}

function show(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

// `changed` is called whenever colours are others.
export function startTheme(select, changed) {
  select.value = kept();
  if (!select.value) select.value = "system";
  show(select.value);
  select.onchange = () => {
    show(select.value);
    try {
      localStorage.setItem(KEPT, select.value);
    } catch {
      // it holds until the page is closed
    }
    changed();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}
