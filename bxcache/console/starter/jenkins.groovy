// For a multibranch pipeline: Jenkins then reports the branch, and whether a change is from a fork.
// The agent needs Docker 29, or 26 with the containerd image store, and pipx.
pipeline {
    agent { label 'docker' }

    triggers {
        cron('H 3 * * *')
    }

    stages {
        stage('Build') {
            steps {
                sh 'pipx run --spec @package@ @load@ --layers --backend type=local,dir=$HOME/.cache/bxcache/@name@,max_size=20GB,max_age=14d'
            }
        }
        // The image is here now: test it in this stage.
        stage('Try') {
            steps {
                sh '@look@'
            }
        }
        // Each build keeps the store within its bounds. Once a night it is read in full as well,
        // which shows a failing disk before a build does, and is collected if nobody builds.
        stage('Look after the store') {
            when {
                triggeredBy 'TimerTrigger'
            }
            steps {
                sh 'pipx run --spec @package@ bxcache store verify --full'
                sh 'pipx run --spec @package@ bxcache store prune'
            }
        }
    }
}
