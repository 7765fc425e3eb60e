# `bxcache bake` builds all of the default group; `bxcache bake web` one target. Each has a cache of its
# own, called as the target is, and nothing here says where caches are kept: that is in bxcache.toml.

variable "TAG" { default = "dev" }

group "default" { targets = ["api", "worker", "web"] }

target "_common" {
  labels = { "org.opencontainers.image.source" = "https://git.example.com/team/shop" }
}

# One target for each of them: worker-orders and worker-mails.
target "worker" {
  inherits = ["_common"]
  name = "worker-${queue}"
  matrix = { queue = ["orders", "mails"] }
  target = "worker"
  args = { QUEUE = queue }
  tags = ["shop/worker-${queue}:${TAG}"]
}

target "api" {
  inherits = ["_common"]
  target = "api"
  tags = ["shop/api:${TAG}"]
}

# It is built from what `api` makes, whether or not that is asked for.
target "web" {
  inherits = ["_common"]
  context = "web"
  contexts = { api = "target:api" }
  tags = ["shop/web:${TAG}"]
}
