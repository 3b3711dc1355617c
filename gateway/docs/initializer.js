// Shows both specs; the addresses are relative, so that the page also works behind a path prefix.

/** Says in each operation's description what its `x-gateway.scope` says, which Swagger UI would show as JSON below all
 * answers. */
const sayScopes = () => ({
  statePlugins: {
    spec: {
      wrapActions: {
        updateJsonSpec: (update) => (spec) => {
          for (const operation of Object.values(spec.paths).flatMap(Object.values)) {
            const scope = operation["x-gateway"]?.scope;
            if (scope) operation.description = `${operation.description ?? ""}\n\n**Scope of the key:** \`${scope}\``;
          }
          return update(spec);
        },
      },
    },
  },
});

window.ui = SwaggerUIBundle({
  dom_id: "#swagger-ui",
  urls: [
    { name: "Envelope dialect (/api/v1)", url: "openapi.json" },
    { name: "Native dialect (/v1)", url: "v1/openapi.json" },
  ],
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
  plugins: [sayScopes],
  layout: "StandaloneLayout",
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  persistAuthorization: false,
  validatorUrl: null,
});

// Escape closes a dialog, which Swagger UI leaves to its buttons.
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelector(".swagger-ui .dialog-ux .close-modal")?.click();
});
