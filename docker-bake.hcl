# docker buildx bake [cuda12-local | rocm-local | all]: the images of this repository.
variable "REGISTRY" { default = "" } # ends with / if it is given
variable "VERSION" { default = "" }  # git describe --tags --always --dirty
variable "TAG" { default = "" }
variable "DFLASH_CUDA_ARCHES" { default = "75;80;86;89;90;120" }
variable "DFLASH_HIP_ARCHES" { default = "gfx1151;gfx1100" }
variable "CUDA_VERSION" { default = "12.8.1" }
variable "ROCM_VERSION" { default = "6.4.1" }
variable "GIT_SHA" { default = "" }
variable "IMAGE_TAG" { default = "" }
variable "BUILD_TIME" { default = "" }

# TAG names one tag; else VERSION gives two, because a tag may hold no "+".
function "tags" {
  params = [variant]
  result = TAG != "" ? ["${REGISTRY}lucebox-hub:${TAG}-${variant}"] : VERSION != "" ? [
    "${REGISTRY}lucebox-hub:${variant}",
    "${REGISTRY}lucebox-hub:${replace(VERSION, "+", "-")}-${variant}",
  ] : ["${REGISTRY}lucebox-hub:${variant}"]
}

group "default" { targets = ["cuda12-local"] }
group "all" { targets = ["cuda12-local", "rocm-local"] }

# The workflow's metadata step fills this one with tags and labels.
target "docker-metadata-action" {}

target "_cuda12-base" {
  context    = "."
  dockerfile = "Dockerfile"
  args = {
    CUDA_VERSION       = CUDA_VERSION
    DFLASH_CUDA_ARCHES = DFLASH_CUDA_ARCHES
    GIT_SHA            = GIT_SHA
    IMAGE_TAG          = IMAGE_TAG
    BUILD_TIME         = BUILD_TIME
  }
}

target "cuda12" { inherits = ["_cuda12-base", "docker-metadata-action"] }

target "cuda12-local" {
  inherits = ["_cuda12-base"]
  tags     = tags("cuda12")
}

target "_rocm-base" {
  context    = "."
  dockerfile = "Dockerfile.rocm"
  args = {
    ROCM_VERSION      = ROCM_VERSION
    DFLASH_HIP_ARCHES = DFLASH_HIP_ARCHES
    GIT_SHA           = GIT_SHA
    IMAGE_TAG         = IMAGE_TAG
    BUILD_TIME        = BUILD_TIME
  }
}

target "rocm" { inherits = ["_rocm-base", "docker-metadata-action"] }

target "rocm-local" {
  inherits = ["_rocm-base"]
  tags     = tags("rocm")
}
