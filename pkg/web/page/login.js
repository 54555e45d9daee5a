// Logs in with the admin's password, or makes it with the code of a set-up link.
const $ = selector => document.querySelector(selector);
const code = location.hash.slice(1);
const form = $("#login");

function show(session) {
	if (code) {
		$("#say").textContent = "Choose a password of at least 10 characters for admin.";
		form.password.autocomplete = "new-password";
		form.querySelector("button").textContent = "Set password";
	} else if (session.setup) {
		$("#say").textContent = "There is no password yet. The log of pibootd has the link to make it; pibootd admin-link makes a new one.";
		return;
	} else {
		form.password.autocomplete = "current-password";
	}
	form.hidden = false;
	if (session.login) return;
	form.hidden = true;
	$("#say").textContent = "A password over plain HTTP can be read on the network. ";
	if (session.https) $("#say").append(Object.assign(document.createElement("a"), {href: session.https + (code ? "setup#" + code : "login"), textContent: "Log in over HTTPS"}));
}

form.onsubmit = async event => {
	event.preventDefault();
	const said = form.querySelector("output"), password = form.password.value;
	said.textContent = "";
	const response = await fetch(code ? "api/v1/setup" : "api/v1/session", {method: "POST", body: JSON.stringify(code ? {code, password} : {password})});
	if (response.ok) {
		location.replace("./");
		return;
	}
	said.className = "failed";
	said.textContent = (await response.json()).error;
};

const response = await fetch("api/v1/session");
if (response.ok && !code) location.replace("./");
else show(response.ok ? {login: true} : await response.json());
