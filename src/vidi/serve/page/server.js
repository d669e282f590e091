// The server: requests with the token that it asks for, and its errors as sentences.

let token = "";

/** Whether the server asked for a token. */
export const needsToken = () => token !== "";

/** Fetch a path; throw what the server says in an error, with its status. */
export async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("the server does not answer; is it still running?");
  }
  if (answer.status === 401) {
    await askToken();
    return ask(path, options);
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(said.error ?? `the server answers ${answer.status}`), { status: answer.status });
}

let asking = null;

function askToken() {
  asking ??= new Promise((resolve) => {
    if (token) document.getElementById("token-title").textContent = "That was not the token";
    document.getElementById("token-dialog").showModal();
    document.getElementById("token-form").addEventListener("submit", () => {
      token = document.getElementById("token").value;
      asking = null;
      resolve();
    }, { once: true });
  });
  return asking;
}
